"""The tasks: a file each, found by `registry`."""
