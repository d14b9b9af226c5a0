"""A video in, a marked video out."""
