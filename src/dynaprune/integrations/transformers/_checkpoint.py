"""The pruning state in a checkpoint folder of the Trainer: `pruning.pt`.

If each rank has its own samples (`Sharded`), the file of rank r is `pruning_r.pt`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...pruned_dataset import PrunedDataset
from ...training.checkpoint import load_checkpoint, save_checkpoint
from .._ranks import has_scores_per_rank, state_file_name


def save_pruning(pruned: PrunedDataset, args: Any, folder: Path) -> None:
    """Save the pruning state; all processes call this.

    Arguments:
        pruned: the pruned dataset.
        args: the Trainer's arguments.
        folder: the checkpoint folder; it is created if needed.
    """
    state = pruned.state_dict()  # all processes take part
    if args.should_save or has_scores_per_rank(pruned):
        folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(folder / state_file_name(pruned, args.process_index), pruning=state)


def load_pruning(pruned: PrunedDataset, args: Any, folder: Path) -> None:
    """Restore the pruning state.

    Arguments:
        pruned: the pruned dataset.
        args: the Trainer's arguments.
        folder: the checkpoint folder.

    Raises:
        FileNotFoundError: the folder has no pruning state.
        RuntimeError: the file is damaged, or belongs to another run.
    """
    path = folder / state_file_name(pruned, args.process_index)
    try:
        saved = load_checkpoint(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there is no checkpoint {path}, which holds the scores and the remaining samples "
            f"of the epoch: resume from a folder that has a {path.name}, saved by a "
            "PrunedTrainer. To continue with the weights alone, load them, model = "
            f"....from_pretrained({str(folder)!r}), and call train() without "
            "resume_from_checkpoint"
        ) from error
    pruned.load_state_dict(saved["pruning"])
