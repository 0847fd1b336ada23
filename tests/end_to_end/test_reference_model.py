"""Random sequences of all that a loop can do, against a plain model of what is documented.

The model is dictionaries and lists. Of the library it takes what `select` returned, and which
samples a batch holds, which the batch tells by itself.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from loop_driver import SLOTS, run_sequence

ACTION = st.tuples(
    st.sampled_from(
        ["fetch"] * 6
        + ["hold"]
        + ["update"] * 6
        + ["update batch", "update indices", "iterate", "drop", "look"]
        + ["end epoch", "save", "load", "load fresh", "read", "train", "train"]
        + ["epoch", "epoch", "epoch ahead"]
    ),
    st.integers(0, SLOTS - 1),
)


SEQUENCES = given(
    st.sampled_from(["plain", "drop_last", "repeating", "dropping"]),
    st.booleans(),
    st.lists(ACTION, min_size=5, max_size=40),
)


# an epoch that another iterator trains to its end, before a batch of it that was fetched earlier
AFTER_ALL = [("fetch", 0), ("epoch", 1), ("update batch", 0), ("save", 0), ("load", 0)]


@SEQUENCES
@example("plain", False, AFTER_ALL)
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
def test_sequences(kind, looks, actions):
    run_sequence(kind, looks, actions)


@pytest.mark.long
@SEQUENCES
@settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_sequences(kind, looks, actions):
    run_sequence(kind, looks, actions)
