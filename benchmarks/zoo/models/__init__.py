"""Architectures that no package brings in this size."""
