"""What an epoch says to the log: one line at its start, and warnings."""

from __future__ import annotations

import logging

from ..planning.plan import Plan
from .epoch import Epoch

logger = logging.getLogger("dynaprune")


def log_start(plan: Plan, now: Epoch, and_others: str) -> None:
    """Log what an epoch serves, at its first update; `and_others` what comes beside its plan."""
    if not logger.isEnabledFor(logging.INFO):  # then no mean is computed either
        return
    logger.info(
        "epoch %d: serving %s of %s samples (%.1f%% skipped)%s, %.1f%% of visits saved before, "
        "mean score %.4g, reliability %.2f",
        plan.epoch,
        f"{len(plan):,}",
        f"{now.num_samples:,}",
        100 * (1 - len(plan) / max(1, now.num_samples)) if len(plan) else 0.0,
        and_others,
        100 * now.totals.share_saved,
        float(now.score.values().sum()) / max(1, now.num_samples),
        now.score.reliability,
    )


def warn_past_end(epoch: int, num_epochs: int) -> None:
    """Warn that the run goes on after its last epoch."""
    logger.warning(
        "epoch %d begins, but the run was made with num_epochs=%d: methods and schedules that plan "
        "for its end have ended. Make it with the number of epochs that are trained",
        epoch,
        num_epochs,
    )


def warn_whole_look(plan: Plan, num_samples: int) -> None:
    """Warn that an epoch was served twice without an update."""
    logger.warning(
        "epoch %d was served twice from beginning to end without an update, so the same %s of %s "
        "samples come again and again. A loop that trains has to call train.update(loss) for each "
        "batch; one that only evaluates should do so under torch.no_grad(), or over the dataset "
        "itself",
        plan.epoch,
        f"{len(plan):,}",
        f"{num_samples:,}",
    )


def warn_not_finite(epoch: int, count: int) -> None:
    """Warn of losses that are not finite."""
    logger.warning("epoch %d: %d losses were not finite and were left out of scoring", epoch, count)


def warn_no_batch(plan: Plan) -> None:
    """Warn that a loader makes no batch of an epoch."""
    logger.warning(
        "epoch %d keeps %d samples, and the loader makes no batch of them (drop_last with a larger "
        "batch size?): nothing is trained in it",
        plan.epoch,
        len(plan),
    )
