"""Videos in, a verified Arrow store of face crops out."""
