"""Dividing an epoch among ranks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .plan import Plan


@dataclass(frozen=True)
class Share:
    """What one sampler serves of a plan: all that is due, or one rank's part of it.

    Attributes:
        plan: the whole.
        order: int64, shape (K,): the samples to serve, in order.
        world_size: the number of parts that the plan was divided into.
    """

    plan: Plan
    order: Tensor
    world_size: int

    def __len__(self) -> int:
        return self.order.numel()


def share_of(plan: Plan, rank: int, world_size: int, *, drop_last: bool = False) -> Share:
    """Return the part of a plan that `rank` serves: every `world_size`-th sample that is due.

    All ranks serve equally many. Where the samples do not come out even, the plan's first ones are
    repeated at the end, or the last ones left out (`drop_last`), as torch's `DistributedSampler`
    does it.
    """
    if world_size == 1:
        return Share(plan, plan.due, 1)
    due = plan.due
    each = due.numel() // world_size if drop_last else -(-due.numel() // world_size)
    missing = each * world_size - due.numel()
    if missing > 0:
        # the plan's first samples, also in a resumed epoch: the same that it would have repeated
        due = torch.cat([due, plan.order.repeat(-(-missing // len(plan)))[:missing]])
    return Share(plan, due[rank : each * world_size : world_size], world_size)
