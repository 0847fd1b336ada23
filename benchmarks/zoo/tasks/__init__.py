"""The tasks that `bench list` shows: a file each."""
