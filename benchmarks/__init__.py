"""Every speed and memory claim, as a ratio against a peer in one run."""
