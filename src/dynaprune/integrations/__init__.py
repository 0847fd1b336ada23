"""Integrations with frameworks that own the training loop: one module each, imported on use.

`_ranks.py` and `_metrics.py` have what several of them do alike.
"""

import logging

from ..pruned_dataset import PrunedDataset

logger = logging.getLogger("dynaprune")


def warn_of_other_epochs(train: PrunedDataset, num_epochs: int) -> None:
    """Warn if a method was made for another number of epochs than the framework trains.

    Arguments:
        train: the pruned dataset.
        num_epochs: the framework's number of epochs.
    """
    if train.num_epochs != num_epochs:
        logger.warning(
            "the %s was made with num_epochs=%d, but the run trains %d epochs: methods treat the "
            "last epochs differently, so give both the same number",
            type(train).__name__,
            train.num_epochs,
            num_epochs,
        )
