"""Data sets, read from where a user or a package has them."""
