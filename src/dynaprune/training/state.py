"""What a checkpoint holds of a run, as tensors and plain values."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..losses.measurements import Measurements
from ..planning.plan import Plan
from ..planning.planner import Planner
from ..scores import Score
from ..utils.validation import check_count, check_finite, check_keys, has_elements, shown
from .checksum import is_intact
from .epochs import Epochs
from .progress import SavedProgress
from .sample_source import SampleSource
from .summary import Summary

logger = logging.getLogger("dynaprune")

OWN_KEYS = frozenset(("version", "score", "totals", "progress"))
"""Some keys of a state: a dictionary without all of them is something else."""

NAMED = 5
"""How many keys of something else an error names."""

STATE_VERSION = 11
"""The format of states: raised when a state of before would be read wrongly."""


@dataclass(frozen=True)
class RunState:
    """The state of a run, in the middle of an epoch or between two.

    Attributes:
        number: of the epoch.
        score: the scores at its start.
        totals: of the epochs before it.
        mean_loss: of the epoch before it; NaN before the first epoch has ended.
        progress: how far it has come.
        plan: a number that identifies its plan; 0 if it has come nowhere.
    """

    number: int
    score: Score
    totals: Summary
    mean_loss: float
    progress: SavedProgress
    plan: int = 0

    @classmethod
    def capture(cls, epochs: Epochs) -> RunState:
        """Return the state of a run: in the middle of an epoch of several ranks a collective."""
        if epochs.position.samples_due() > 0:
            progress = epochs.measured()
            now, plan = epochs.now, epochs.plan
            digest = 0 if plan is None else plan.digest()
            return cls(now.number, now.score, now.totals, now.mean_loss, progress, digest)
        ended, number = epochs.folded(), epochs.number
        if ended.visits > 0:
            number += 1
            try:
                epochs.call_callbacks()  # this state counts the epoch as over
            except Exception:
                logger.exception("epoch %d is not recorded or logged yet", epochs.number)
        return cls(number, ended.score, epochs.summary(), epochs.mean_loss(), SavedProgress())

    def to_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain values that do not change with the run."""
        batches = self.progress.batches
        return {
            "epoch": self.number,
            "score": self.score.state_dict(),
            "totals": asdict(self.totals),
            # empty before the first epoch has ended: NaN would not be equal to itself
            "mean_loss": torch.tensor(
                [] if math.isnan(self.mean_loss) else [self.mean_loss],
                dtype=torch.float64,
                device="cpu",
            ),
            "progress": {
                **{name: values.clone() for name, values in vars(batches).items()},
                "indices": batches.indices.long(),
                "visits": self.progress.visits,
                "seconds": self.progress.seconds,
                "repeats": self.progress.repeats,
                "plan": self.plan,
            },
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], score: Score, source: SampleSource) -> RunState:
        """Return a state from what `to_dict` returned.

        Arguments:
            state: the dictionary.
            score: the score to load; of as many samples as that of the state.
            source: the data set.

        Raises:
            RuntimeError: the state is incomplete or damaged, or not one of as many samples.
        """
        check_keys(state, ("epoch", "score", "totals", "mean_loss", "progress"), "the state")
        number, totals = check_count("epoch", state["epoch"]), totals_of(state["totals"])
        if totals.epochs > number:
            raise RuntimeError(
                f"the state is damaged: it is of epoch {number:,}, before which it says that "
                f"{totals.epochs:,} epochs were trained on"
            )
        mean_loss = _mean_loss(state["mean_loss"])
        progress, plan = _progress(state["progress"])
        _load(score, state["score"])
        source.check_measurements(progress.batches, score.num_samples)
        return cls(number, score, totals, mean_loss, progress, plan)

    def planned(self, source: SampleSource, planner: Planner, method: str) -> Plan | None:
        """Return the plan of the epoch in whose middle the state was taken, with what is due.

        Arguments:
            source: the data set.
            planner: makes the plan.
            method: the name of the method's class, for messages.

        Raises:
            RuntimeError: the method plans another epoch than the one in whose middle the state was
                taken.
        """
        if len(self.progress.batches) == 0:
            return None
        try:
            plan = planner.plan(self.score, self.number)
        except Exception as error:
            raise RuntimeError(
                f"the state was taken in the middle of epoch {self.number}, but this {method} "
                f"cannot plan it from the state's scores: {error}"
            ) from error
        if plan.digest() != self.plan:
            raise RuntimeError(
                f"the state was taken in the middle of epoch {self.number}, for which the "
                f"arguments of this {method} produce a different plan: make it with those of the "
                "run that saved it, or go on from a state between epochs"
            )
        return source.still_due(plan, self.progress)

    def apply(self, epochs: Epochs, plan: Plan | None) -> None:
        """Let a run go on from this state.

        Arguments:
            epochs: of the run.
            plan: what `planned` returned.
        """
        epochs.restore(self.number, self.score, self.totals, self.mean_loss, self.progress, plan)


def check_origin(state: Any, expected: Mapping[str, Any]) -> None:
    """Check that a state is one of this run, and as it was when it was taken.

    Arguments:
        state: what `state_dict` has returned.
        expected: the format's version, and what identifies the run.

    Raises:
        RuntimeError: it is not.
    """
    _check_kind(state)
    check_keys(state, ("version",), "the state")
    _check_version(state["version"], expected["version"])
    check_keys(state, (*expected, "settings", "epoch", "score", "totals", "progress"), "the state")
    check_keys(state, ("checksum",), "the state")
    if not is_intact(state):
        raise RuntimeError(
            "the state is damaged: what it holds does not match its checksum, so it is not what "
            "state_dict() has returned. Go on from an earlier state"
        )
    for key, value in expected.items():
        if type(state[key]) is not type(value) or state[key] != value:
            raise RuntimeError(
                f"the state belongs to another run: its {key} is {shown(state[key])}, but here it "
                f"is {value!r}. Make this object with the arguments of the run that saved it"
            )


def _check_kind(state: Any) -> None:
    """Check that a dictionary is not a whole checkpoint, or the state of another object.

    Raises:
        RuntimeError: it is.
    """
    if not isinstance(state, dict) or not state or not OWN_KEYS.isdisjoint(state):
        return
    first = ", ".join(shown(key) for key in list(state)[:NAMED])
    more = ", …" if len(state) > NAMED else ""
    raise RuntimeError(
        f"this holds {first}{more}: it is not the state of a pruned dataset, which "
        "train.state_dict() returns. Of a checkpoint, pass that state, as in states['train']"
    )


def _check_version(found: Any, known: int) -> None:
    number = check_count("version", found)
    if number != known:
        mend = (
            "update dynaprune"
            if number > known
            else "finish the run with the version of dynaprune that it was begun with"
        )
        raise RuntimeError(
            f"the state is of format {number}, but this version of dynaprune reads format {known}, "
            f"which is {'older' if number > known else 'newer'}: {mend}, or begin the run anew"
        )


def _mean_loss(state: Any) -> float:
    values: list[float] = []
    if has_elements(state) and state.dtype == torch.float64 and state.dim() == 1:
        values = state.tolist()
        if len(values) <= 1 and all(map(math.isfinite, values)):
            return values[0] if values else math.nan
    raise RuntimeError(
        "the state is damaged: its mean_loss must be a float64 tensor of at most one finite "
        f"element, but {shown(state)} was found"
    )


def _load(score: Score, state: Any) -> None:
    try:
        score.load_state_dict(state)
    except RuntimeError:
        raise
    except Exception as error:  # of a score of the user's own
        raise RuntimeError(
            f"the state's score cannot be loaded into this {type(score).__name__}: {error!r}"
        ) from error


def totals_of(state: Any) -> Summary:
    """Return the totals of a state.

    Raises:
        RuntimeError: they are incomplete or damaged.
    """
    counts = asdict(Summary())
    check_keys(state, tuple(counts), "the state's totals")
    found: dict[str, Any] = {
        name: check_finite(name, state[name], minimum=0)
        if isinstance(first, float)
        else check_count(name, state[name])
        for name, first in counts.items()
    }
    return Summary(**found)


def _progress(state: Any) -> tuple[SavedProgress, int]:
    names = tuple(vars(Measurements.none()))
    check_keys(state, (*names, "visits", "seconds", "repeats", "plan"), "the state's progress")
    batches = _batches({name: state[name] for name in names})
    visits = check_count("visits", state["visits"])
    if visits != batches.indices.numel():
        raise RuntimeError(
            f"the state is damaged: it counts {visits:,} visits in its epoch, but holds those of "
            f"{batches.indices.numel():,} samples"
        )
    seconds = check_finite("seconds", state["seconds"], minimum=0)
    repeats = max(1, check_count("repeats", state["repeats"]))
    return SavedProgress(batches, visits, seconds, repeats), check_count("plan", state["plan"])


def _batches(found: Mapping[str, Any]) -> Measurements:
    wrong = None
    for name, values in found.items():
        dtype = torch.float32 if name == "losses" else torch.int64
        if not has_elements(values) or values.dtype != dtype or values.dim() != 1:
            wrong = f"its {name} are no {dtype} of one dimension"
            break
    else:
        batches = Measurements(**{name: values.detach().cpu() for name, values in found.items()})
        steps = batches.steps.numpy()
        if not len(batches.sizes) == len(batches.losses) == len(batches.steps):
            wrong = "its sizes, losses and steps are not of one length"
        elif bool((batches.sizes < 1).any()):
            wrong = "its sizes are not all above 0"
        elif sum(batches.sizes.tolist()) != batches.indices.numel():
            wrong = "its sizes do not sum to the number of its samples"
        elif steps.size > 0 and (steps[0] < 0 or (steps[1:] < steps[:-1]).any()):
            wrong = "its steps are below 0, or fall"
    if wrong is not None:
        raise RuntimeError(f"the state's progress in its epoch is damaged: {wrong}")
    return batches
