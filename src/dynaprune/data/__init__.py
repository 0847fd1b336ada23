"""Indexed, sharded and streamed datasets, with their keys and labels."""
