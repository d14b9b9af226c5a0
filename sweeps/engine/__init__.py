"""What every sweep shares: command line, journal, resources, tracking, launch."""
