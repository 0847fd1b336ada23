"""Advice that follows from an audit, in plain sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..methods.unscored import UNSCORED
from ..scores.reliability import WEAK

if TYPE_CHECKING:
    from .audit_result import Audit

FEW, MANY = 0.3, 0.5
"""Shares of learned samples halfway through a run. Below the first, pruning cost quality in three
quarters of the settings of docs/evidence/signs.md; above the second, in a sixth of them."""

STANDARD_ERRORS = 3.0
"""How far the share of hard samples that are kept has to be from that of all to be mentioned."""

IF_FLAT = (
    "If the metric has been flat for half of the run, train for fewer epochs, which needs no scores"
)
"""The clearest sign in docs/evidence/signs.md, which only the user can see."""

RARE = 10
"""A class is called rare if the largest class has this many times as many samples: a convention of
research on long tails. At 50 times, random pruning and fewer epochs cost ten points of accuracy or
more, and weighting the loss by class gained more than that (docs/evidence/brief.md)."""


def advise(audit: Audit) -> list[str]:
    """Return sentences on rare classes, waste, scores, skipped samples, and wrong labels."""
    if math.isnan(audit.correlation.low):
        return [*_on_classes(audit), _on_too_little(audit)]
    return [
        *_on_classes(audit),
        _on_waste(audit),
        _on_scores(audit),
        _on_skipping(audit) + _on_hardest(audit),
        _on_labels(audit),
    ]


def _on_too_little(audit: Audit) -> str:
    if math.isnan(audit.correlation.value):
        return (
            "All scores, or all losses, are equal, so there is no order to compare: train for an "
            "epoch first, and load the checkpoint of that."
        )
    return f"{audit.num_samples} samples are too few to say anything: give a larger num_samples."


def _on_classes(audit: Audit) -> list[str]:
    if audit.class_sizes is None:
        return []
    largest, smallest = audit.class_sizes
    # a standard deviation of tolerance on each side, so that no class is rare by chance
    if largest - math.sqrt(largest) < RARE * (smallest + math.sqrt(smallest)):
        return []
    return [
        f"The largest class has {largest:,} samples, the smallest {smallest:,}. If all classes "
        "matter equally, weight the loss by class before you prune: otherwise the savings below "
        "hurt the rare classes, above all fewer epochs and random pruning."
    ]


def _on_waste(audit: Audit) -> str:
    share = audit.learned_share
    if math.isnan(share):
        return "How many samples are learned was not judged: losses are 0 or below."
    found = f"The {share:.0%} of the samples with the lowest losses make up 5% of all loss"
    if share < FEW:
        return (
            f"{found}: nearly all samples still teach, so a saving is likely to cost quality. "
            f"Audit again after half of the run. {IF_FLAT}."
        )
    what = (
        "some visits are wasted, and a small saving may be free"
        if share < MANY
        else "they are learned, and visits to them are wasted"
    )
    return f"{found}: {what}. {IF_FLAT}; otherwise {_what_to_try(audit)}."


def _what_to_try(audit: Audit) -> str:
    """Say how to save visits, beyond what the run already does."""
    if audit.method == "SkipConverged":
        return "keep SkipConverged, which finds how much to skip, and compare it with RandomPrune"
    converged = "or SkipConverged, which finds how much to skip if it gets losses of single samples"
    if not audit.saving:
        return (
            'try RandomPrune(saving="auto"), which finds how much to skip from the losses of '
            f"batches, {converged}; compare with fewer epochs"
        )
    if audit.saving == "auto":
        return 'keep saving="auto", and compare it with fewer epochs at the same number of visits'
    others = "fewer epochs" if audit.method == "RandomPrune" else "RandomPrune and fewer epochs"
    return (
        f"compare saving={audit.saving!r}, which is in use, with {others} at the same number of "
        f"visits, {converged}"
    )


def _on_scores(audit: Audit) -> str:
    found = audit.correlation
    better = _how_to_score(audit)
    if found.high < 0:
        return (
            f"The scores order the samples against their losses, {found}: does update() get the "
            "loss of the current batch, and does loss_fn compute the same loss?"
        )
    if found.low <= 0:
        instead = "Or use RandomPrune, which needs no scores."
        if audit.method in UNSCORED:
            instead = f"{audit.method} does not read them."
        return f"The scores are as good as random, {found}: {better}. {instead}"
    if found.value < WEAK:
        return f"The scores order the samples by their losses, but weakly, {found}: {better}."
    return f"The scores order the samples by their losses, {found}."


def _how_to_score(audit: Audit) -> str:
    """Say how scores could get better, beyond what the run already does."""
    if audit.samples_a_loss == 1:
        return (
            "losses are of single samples already, so they change too much from visit to visit, "
            "or were measured too long ago"
        )
    options = ["chunked(...)", "smaller batches"]
    if not math.isnan(audit.samples_a_loss):
        options[0] = f"chunked(...) with fewer than the current {audit.samples_a_loss:.3g} per loss"
    if audit.score != "KalmanBLS":
        options.append(f"KalmanBLS in place of {audit.score}")
    return f"measure more finely, with {', '.join(options[:-1])} or {options[-1]}"


def _on_skipping(audit: Audit) -> str:
    ratio = audit.skipped_loss_ratio
    if math.isnan(ratio.low):
        return (
            "What the method skips was not judged: it skips none of the measured samples in epoch "
            f"{audit.planned_epoch}, or losses are 0 or below."
        )
    skipped = f"The mean loss of the skipped samples is {ratio} of that of all"
    if ratio.low <= 1 <= ratio.high:
        if audit.method in UNSCORED:
            return f"{skipped}: they are drawn at random, as {audit.method} does."
        return f"{skipped}: as if drawn at random, so RandomPrune would do as well."
    if (ratio.value > 1) == audit.skips_highest:
        meant = "hard" if audit.skips_highest else "easy"
        return f"{skipped}: the method skips {meant} samples, which random pruning does not."
    if audit.skips_highest:
        return f"{skipped}: the method is meant to skip hard samples, but skips easy ones."
    return (
        f"{skipped}: the method skips hard samples. Unless it is meant to in this epoch, as SeTa "
        "is in some, RandomPrune would do better."
    )


def _on_hardest(audit: Audit) -> str:
    """Say whether kinds that are rare inside of a class would be skipped, if that can be said."""
    kept, of_all = audit.hardest_kept, audit.would_keep
    if math.isnan(kept) or of_all == 1 or audit.skips_highest or audit.method in UNSCORED:
        return ""
    error = math.sqrt(of_all * (1 - of_all) / audit.hardest)
    if abs(kept - of_all) < STANDARD_ERRORS * error:
        return ""
    found = f" It keeps {kept:.0%} of the hardest tenth of each class, and {of_all:.0%} of all"
    if kept > of_all:
        return f"{found}: kinds that are rare inside of a class are often there, and lose least."
    return (
        f"{found}: kinds that are rare inside of a class are often there, and lose most. "
        'InfoBatch(..., weighting="equal") keeps them.'
    )


def _on_labels(audit: Audit) -> str:
    share = audit.outlier_share
    trims = audit.method == "TrimmedLoss"
    if share == 0:
        return (
            "No group of samples has distinctly higher losses: TrimmedLoss"
            + (", which is in use, drops" if trims else " would drop")
            + " hard samples rather than wrong ones, and is not recommended. (Wrong labels that "
            "were memorized already, or that are as hard as the hard samples, do not show "
            "in the losses.)"
        )
    found = f"About {share:.0%} of the samples have distinctly higher losses, as wrong labels have"
    if audit.correlation.low <= 0:
        finds = "does not find them" if trims else "would not find them"
        return f"{found}; but the scores do not tell which, so TrimmedLoss {finds}."
    if trims:
        return f"{found}, and TrimmedLoss is in use: look at train.suspects()."
    return (
        f"{found}: TrimmedLoss(trim={share:.2f}) may give a better model. Look at "
        "train.suspects() first (after train.track_samples()): they may be a hard class, and not "
        "wrong."
    )
