"""What a checkpoint holds of the epochs, as tensors and plain values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from .batches import Batches
from .findings import Progress
from .indexed import check_range
from .plan import Plan
from .scores import Score
from .summary import Summary
from .validation import check_keys


def pack(
    number: int,
    score: Score,
    totals: Summary,
    mean_loss: float,
    progress: Progress,
    plan: Plan | None,
) -> dict[str, Any]:
    """Return the state of an epoch.

    Arguments:
        number: of the epoch.
        score: the scores at its start.
        totals: of the epochs before it.
        mean_loss: of the epoch before it.
        progress: how far it has come.
        plan: its plan, if it has come anywhere.
    """
    return {
        "epoch": number,
        "score": score.state_dict(),
        "totals": asdict(totals),
        "mean_loss": mean_loss,
        "progress": {
            # copies: what is saved later must not change with the run
            **{name: values.clone() for name, values in vars(progress.batches).items()},
            "indices": progress.batches.indices.long(),
            "visits": progress.visits,
            "seconds": progress.seconds,
            "repeats": progress.repeats,
            "plan": 0 if plan is None else plan.digest(),
        },
    }


def unpack(state: dict[str, Any], score: Score) -> tuple[int, Summary, float, Progress, int]:
    """Load `score`; return the epoch's number, totals, mean loss, progress and plan's digest.

    Raises:
        RuntimeError: the state is incomplete, or not one of as many samples as `score` has.
    """
    check_keys(state, ("epoch", "score", "totals", "mean_loss", "progress"), "the state")
    counts = asdict(Summary())
    check_keys(state["totals"], tuple(counts), "the state's totals")
    names = tuple(vars(Batches.none()))
    check_keys(
        state["progress"], (*names, "visits", "seconds", "repeats", "plan"), "the state's progress"
    )
    batches = Batches(**{name: state["progress"][name] for name in names})
    _check_batches(batches)
    score.load_state_dict(state["score"])
    if score.keys is None and batches.indices.numel() > 0:
        check_range(batches.indices, score.num_samples)
    return (
        int(state["epoch"]),
        Summary(**{key: state["totals"][key] for key in counts}),
        float(state["mean_loss"]),
        Progress(
            batches,
            int(state["progress"]["visits"]),
            float(state["progress"]["seconds"]),
            int(state["progress"]["repeats"]),
        ),
        int(state["progress"]["plan"]),
    )


def _check_batches(batches: Batches) -> None:
    wrong = None
    for name, values in vars(batches).items():
        dtype = torch.float32 if name == "losses" else torch.int64
        if not isinstance(values, Tensor) or values.dtype != dtype or values.dim() != 1:
            wrong = f"its {name} are no {dtype} of one dimension"
            break
    else:
        if not len(batches.sizes) == len(batches.losses) == len(batches.steps):
            wrong = "its sizes, losses and steps are not of one length"
        elif int(batches.sizes.sum()) != batches.indices.numel():
            wrong = "its sizes do not sum to the number of its samples"
    if wrong is not None:
        raise RuntimeError(f"the state's progress in its epoch is damaged: {wrong}")
