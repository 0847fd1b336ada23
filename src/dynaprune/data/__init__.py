"""Indexed, sharded and streamed datasets, with their keys and labels.

Scores are tensors with one place for each sample. Samples of a map-style dataset have indices;
those of a stream have keys, and a `KeyTable` gives each key its place.
"""
