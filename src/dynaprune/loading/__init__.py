"""The loader, and the ways in which it finds out which samples each batch holds."""
