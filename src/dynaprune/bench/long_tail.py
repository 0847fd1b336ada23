"""Groups of samples with sizes from common to rare."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

RAREST = 0.02
"""The size of the rarest group, relative to the largest."""


def long_tailed(groups: Tensor, order: Sequence[int], generator: torch.Generator) -> list[Tensor]:
    """Return the samples that are kept of each group, at random.

    The r-th of R groups keeps the share 0.02^(r/(R − 1)) of its samples, but at least one.

    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.

    Arguments:
        groups: the group of each sample, int64, shape (N,).
        order: the numbers of the groups, the largest first.
        generator: draws the samples.
    """
    kept = []
    for rank, group in enumerate(order):
        members = (groups == group).nonzero().flatten()
        share = RAREST ** (rank / max(1, len(order) - 1))
        drawn = torch.randperm(len(members), generator=generator)
        kept.append(members[drawn[: max(1, round(share * len(members)))]])
    return kept
