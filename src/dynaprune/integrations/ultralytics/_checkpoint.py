"""The pruning state next to the weights: `last.pruning.pt` belongs to `last.pt`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...pruned_dataset import PrunedDataset
from ...training.checkpoint import load_checkpoint, save_checkpoint


def save_pruning(pruned: PrunedDataset, weights: Iterable[Path]) -> None:
    """Save the pruning state next to files of weights.

    Arguments:
        pruned: the pruned dataset.
        weights: the files of weights that were saved at the end of the same epoch.
    """
    state = pruned.state_dict()
    for path in weights:
        save_checkpoint(_path_of(path), pruning=state)


def load_pruning(pruned: PrunedDataset, weights: Path) -> None:
    """Restore the pruning state that belongs to a file of weights.

    Arguments:
        pruned: the pruned dataset.
        weights: the file of weights that the run continues from.

    Raises:
        FileNotFoundError: it has no pruning state.
        RuntimeError: the file is damaged, or belongs to another run.
    """
    path = _path_of(weights)
    try:
        saved = load_checkpoint(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there is no checkpoint {path}, which holds the scores: resume from weights that a "
            f"trainer with PrunedTrainerMixin has saved, with {path.name} in the same folder. To "
            f"continue with the weights alone, start a new run: YOLO({str(weights)!r}).train(...) "
            "without resume"
        ) from error
    pruned.load_state_dict(saved["pruning"])


def _path_of(weights: Path) -> Path:
    return weights.with_suffix(".pruning.pt")
