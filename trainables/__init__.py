"""One trial: from a frozen config to a measured model."""
