"""Data sets: indexed ones, parts of them, streams; their keys and labels."""
