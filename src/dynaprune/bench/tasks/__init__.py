"""The tasks of the demo, a file each, and their parts; all others are in benchmarks/zoo."""
