"""The run: which epoch it is, on which ranks, when it is folded, how it is saved.

`update` only records: losses stay on their device until the epoch ends. Then the ranks exchange
them in one collective, and they are folded into the scores. So scores are constant inside an epoch,
and a state that is saved in the middle of one is scores at its start, plus what was recorded since.
"""

from .summary import Summary

__all__ = ["Summary"]
