"""What the ranks of a distributed run share, and which file of a checkpoint each one writes."""

from __future__ import annotations

from ..pruned_dataset import PrunedDataset


def has_scores_per_rank(train: PrunedDataset) -> bool:
    """Whether each of several ranks has its own samples and scores, as with `Sharded`."""
    ranks = train.epochs.ranks
    return ranks.size < ranks.world_size


def state_file_name(train: PrunedDataset, rank: int) -> str:
    """Return the name of a rank's pruning state in a checkpoint folder.

    All ranks have the same state, except if each has its own scores: then each has its own file,
    named like torch's random states in checkpoints of Accelerate and Transformers.
    """
    return f"pruning_{rank}.pt" if has_scores_per_rank(train) else "pruning.pt"


def visits_of_all_ranks(train: PrunedDataset) -> int:
    """Return how many samples all ranks together have trained on so far."""
    ranks = train.epochs.ranks  # `visits_made` is of the ranks that divide an epoch among them
    return train.summary().visits_made * ranks.world_size // ranks.size
