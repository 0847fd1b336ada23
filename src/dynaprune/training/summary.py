"""What a run has saved so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Counts of a run; `print(train.summary())` shows them.

    A visit is one sample in one batch that was trained on.

    Attributes:
        epochs: epochs that were trained on, the one in progress included.
        visits_made: sample visits that were made.
        visits_avoided: sample visits that full epochs would have made beyond those. An epoch that
            was left early counts in proportion to how much of it was served.
        seconds: wall-clock seconds spent in these epochs, from the first batch's request to the
            last update.
        planning_seconds: seconds that folding losses into scores and planning epochs took.
        losses_left_out: losses that were not finite and therefore not scored.
    """

    epochs: int = 0
    visits_made: int = 0
    visits_avoided: int = 0
    seconds: float = 0.0
    planning_seconds: float = 0.0
    losses_left_out: int = 0

    @property
    def share_saved(self) -> float:
        """Share of all sample visits of full training that were avoided, in [0, 1)."""
        total = self.visits_made + self.visits_avoided
        return self.visits_avoided / total if total else 0.0

    def __str__(self) -> str:
        left_out = f"; {self.losses_left_out:,} losses left out" if self.losses_left_out else ""
        return (
            f"{self.epochs} epochs, {self.visits_made:,} sample visits made and "
            f"{self.visits_avoided:,} avoided ({self.share_saved:.1%} saved) in "
            f"{_seconds(self.seconds)}; planning took {_seconds(self.planning_seconds)}{left_out}"
        )


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds >= 10 else f"{seconds:.3f} s"
