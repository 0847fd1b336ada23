"""What a recording says about a run, in words: pure functions from its numbers to sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from ...methods.unscored import UNSCORED
from ...scores.reliability import ENOUGH, WEAK
from ..recording import RecordedEpoch, gaps_between
from .classes import RARELY, ClassRow
from .run import RecordedRun

GOOD, NOTE, PROBLEM = "good", "note", "problem"

TOO_WIDE = 0.2
"""The half-width of a reliability's interval above which it is not judged."""

MOVED = 0.05
"""How much more or less often the hardest samples have to be served to be mentioned."""

HOW_TO_SCORE = (
    "Give update more losses per batch: a loss per sample (reduction='none'), or "
    "chunked(criterion, chunks=8). Smaller batches, KalmanBLS instead of BLS, or more epochs help, "
    "too."
)

MAX_NAMED = 5
"""How many epochs or classes a sentence names."""


@dataclass(frozen=True)
class Verdict:
    """One finding about a run.

    Attributes:
        kind: "good", "note" or "problem".
        found: what was found, a sentence.
        advice: what to do, or what it means; empty if there is nothing to say.
    """

    kind: str
    found: str
    advice: str = ""


def verdicts_of(run: RecordedRun, classes: Sequence[ClassRow]) -> list[Verdict]:
    """Return all findings about a run, problems first."""
    found = [
        *on_losses(run),
        *on_saving(run),
        *on_reliability(run),
        *on_classes(classes, float(run.share_served.mean()) if run.share_served.size else 0.0),
        *on_hardest(run, classes),
        *on_missing_epochs(run),
        *on_rates(run),
    ]
    order = (PROBLEM, GOOD, NOTE)
    return sorted(found, key=lambda verdict: order.index(verdict.kind))


def on_losses(run: RecordedRun) -> list[Verdict]:
    """Judge whether all losses were finite."""
    affected = [epoch for epoch in run.epochs if epoch.losses_left_out]
    if not affected:
        return []
    total = sum(epoch.losses_left_out for epoch in affected)
    are = "loss was" if total == 1 else "losses were"
    found = f"{total:,} {are} not finite, in {_epochs([epoch.number for epoch in affected])}."
    if math.isnan(run.epochs[-1].mean_loss):
        found += " No loss of the last epoch was finite: training has diverged."
    return [
        Verdict(
            PROBLEM,
            found,
            "They were left out of the scores. Lower the learning rate, or clip gradients. With "
            "float16, use torch.amp.GradScaler.",
        )
    ]


def on_saving(run: RecordedRun) -> list[Verdict]:
    """Judge how many visits were avoided and, if none, why."""
    if run.visits_avoided == 0:
        return [Verdict(NOTE, "Nothing was skipped.", why_nothing_was_skipped(run))]
    advice = ""
    if run.facts["method"] not in UNSCORED:
        advice = (
            "A report cannot tell whether the model is as good as without pruning: train with "
            "RandomPrune at the same saving, and compare."
        )
    return [
        Verdict(
            GOOD, f"{run.share_saved:.1%} of the sample visits of full epochs were avoided.", advice
        )
    ]


def why_nothing_was_skipped(run: RecordedRun) -> str:
    """Return the reason why a run that avoided no visit did so, and what to do."""
    settings = run.facts.get("settings") or {}
    asked = settings.get("saving")
    if asked is None:
        asked = settings.get("prune_ratio")
    if run.facts["method"] == "NoPrune":
        return (
            "NoPrune serves every sample in every epoch, to compare with or to find wrong labels. "
            "Choose another method to save visits, such as InfoBatch."
        )
    if asked == 0:
        return "The saving that the method was given is 0. Pass a larger one, such as saving=0.2."
    if all(math.isnan(epoch.mean_loss) for epoch in run.epochs):
        return "No loss was finite, so no sample has a score. See to the losses first."
    if all(epoch.quantiles and epoch.quantiles[0] == epoch.quantiles[-1] for epoch in run.epochs):
        return (
            "All scores are equal, so none is below their mean. Scores differ after an epoch whose "
            "batches have different losses: check that update gets the loss of each batch."
        )
    if len(run.epochs) == 1:
        return "Only one epoch was recorded, and the method learns from it what it can skip."
    if asked == "auto":
        return (
            "saving='auto' skips samples that add little to the loss, and found none. Train for "
            "longer, or give a number, such as saving=0.2."
        )
    if run.facts["method"] == "SkipConverged":
        return (
            "No sample had converged: each still adds to the loss. Train for longer, raise "
            "loss_share, or use a method with a saving, such as InfoBatch."
        )
    return (
        "The method kept every sample in the recorded epochs. It may serve all of them at first, "
        "to score them, or at the end, from the share delta of the run on. Record the whole run."
    )


def on_reliability(run: RecordedRun) -> list[Verdict]:
    """Judge whether scores order samples better than chance."""
    known = [epoch for epoch in run.epochs if math.isfinite(epoch.reliability)]
    if not known:
        return []
    last, half_width = known[-1].reliability, half_width_of(known)
    value = f"{last:.2f} ± {half_width:.2f}"
    is_read = run.facts["method"] not in UNSCORED
    if last >= half_width and (last >= WEAK or not is_read):
        return [Verdict(GOOD, f"Scores order samples better than chance: reliability {value}.")]
    if half_width > TOO_WIDE:
        return [
            Verdict(
                NOTE,
                f"The reliability of the scores, {value}, is from too few batches to be judged.",
                "It needs a hundred batches or more after the first epoch.",
            )
        ]
    if last >= half_width:
        return [
            Verdict(
                NOTE,
                f"Scores order samples only slightly better than chance: reliability {value}.",
                f"Selection is close to random. {HOW_TO_SCORE}",
            )
        ]
    found = (
        f"The reliability of the scores is {value}, {'near' if last > -half_width else 'below'} 0"
    )
    if not is_read:
        return [
            Verdict(
                NOTE,
                f"{found}: they do not tell samples apart.",
                f"{run.facts['method']} does not read them. Do not rank samples by them either.",
            )
        ]
    return [
        Verdict(
            PROBLEM,
            f"{found}: the selection is no better than random.",
            f"{HOW_TO_SCORE} If it stays near 0, use RandomPrune, which needs no scores.",
        )
    ]


def half_width_of(epochs: Sequence[RecordedEpoch]) -> float:
    """Return the half-width of the 95% interval of a reliability that is 0.

    The standard error of a correlation of n pairs is 1/√n. The batches of an epoch are at least as
    many as the points of its curves.

    Arguments:
        epochs: those whose losses have been compared with scores.
    """
    batches = sum(len(epoch.curve_visits) for epoch in epochs)
    return 2 / math.sqrt(max(1, min(ENOUGH, batches)))


def on_classes(classes: Sequence[ClassRow], average: float) -> list[Verdict]:
    """Judge whether a class was served too rarely.

    Arguments:
        classes: how often each class was served.
        average: the share of the epochs in which a sample was served, averaged over all samples.
    """
    starved = [row for row in classes if row.is_starved]
    if not starved:
        return []
    names = [f"{row.name} ({row.served:.1%})" for row in starved]
    are = "class was" if len(starved) == 1 else "classes were"
    return [
        Verdict(
            PROBLEM,
            f"{len(starved)} {are} served less than {RARELY:.0%} as often as the average of "
            f"{average:.1%}: {_listed(names)}.",
            "Compare the quality of these classes with a run without pruning. If it is lower, "
            "reduce the saving, or weight the loss by class before you prune.",
        )
    ]


def on_hardest(run: RecordedRun, classes: Sequence[ClassRow]) -> list[Verdict]:
    """Tell whether visits have moved to the hardest samples of each class, or away from them."""
    known = [row for row in classes if math.isfinite(row.hardest_served)]
    if run.facts["method"] in UNSCORED or run.visits_avoided == 0 or not known:
        return []
    samples = sum(row.samples for row in known)
    ratio = sum(row.samples * row.hardest_served for row in known) / samples
    if abs(ratio - 1) < MOVED:
        return []
    served = f"The hardest tenth of each class was served {ratio:.2f} times as often as the rest"
    if ratio > 1:
        return [
            Verdict(
                NOTE,
                f"{served}.",
                "Kinds that are rare and have no label of their own are often there, and so are "
                "wrong labels: look at the hardest of each class below.",
            )
        ]
    return [
        Verdict(
            NOTE,
            f"{served}: visits have moved away from it.",
            "That is meant if its labels are wrong. If it has kinds that are rare and have no "
            "label of their own, the model learns them worse: look at the hardest of each class "
            'below, and use InfoBatch(..., weighting="equal") to keep them.',
        )
    ]


def on_missing_epochs(run: RecordedRun) -> list[Verdict]:
    """Name the epochs that were trained without the recording."""
    numbers = [epoch.number for epoch in run.epochs]
    gaps = list(islice(gaps_between([-1, *numbers]), MAX_NAMED + 1))
    if not gaps:
        return []
    return [
        Verdict(
            NOTE,
            f"The recording lacks {_epochs(gaps)}: the run was trained without it then.",
            "Call train.record before the first epoch, and again with the same folder after a "
            "resume.",
        )
    ]


def on_rates(run: RecordedRun) -> list[Verdict]:
    """Explain gaps in the learning rate."""
    resumed, without = [], []
    for epoch in run.epochs:
        unknown = [math.isnan(rate) for rate in epoch.curve_rates]
        if not unknown or all(unknown):
            without.append(epoch.number)
        elif any(unknown):
            resumed.append(epoch.number)
    found = []
    if resumed:
        found.append(
            Verdict(
                NOTE,
                f"The learning rate has a gap in {_epochs(resumed)}: the run was resumed there.",
                "The learning rates before the resume were lost with the process. Losses and "
                "visits are complete.",
            )
        )
    if without and len(without) < len(run.epochs):
        found.append(
            Verdict(
                NOTE,
                f"The learning rate is not known in {_epochs(without)}.",
                "Pass optimizer= to train.record each time you start the script.",
            )
        )
    return found


def _epochs(numbers: Sequence[int | str]) -> str:
    """Return epochs, or ranges of them, as text: "epoch 3", "epochs 3, 4 and 7 to 9"."""
    is_one = len(numbers) == 1 and " " not in str(numbers[0])
    return f"epoch{'' if is_one else 's'} {_listed([str(each) for each in numbers])}"


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    if len(names) > MAX_NAMED:
        return f"{', '.join(names[:MAX_NAMED])} and more"
    return f"{', '.join(names[:-1])} and {names[-1]}"
