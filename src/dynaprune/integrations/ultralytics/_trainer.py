"""The methods of the trainer that pruned epochs change."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ...pruned_dataset import PrunedDataset
from .. import warn_of_other_epochs
from .._bases import check_comes_first
from .._metrics import metrics_of
from .._ranks import has_scores_per_rank
from .._versions import require
from ._bars import bars_of_pruned_epochs, trainer_module
from ._checkpoint import load_pruning, save_pruning
from ._loader import PrunedLoader

TESTED = "8.4"
"""The versions of Ultralytics that the tests ran with."""

_OVERRIDDEN = (
    "_build_train_pipeline",
    "_do_train",
    "_get_warmup_iterations",
    "_handle_nan_recovery",
    "_setup_train",
    "optimizer_step",
    "resume_training",
    "run_callbacks",
    "save_metrics",
    "save_model",
)


class PrunedTrainerMixin:
    """Makes a trainer class of Ultralytics train pruned epochs; put it first in the list of bases.

    Define `prune` in the class, and pass the class to `train`:

        class PrunedTrainer(PrunedTrainerMixin, DetectionTrainer):
            def prune(self, dataset):
                return KalmanBLS(InfoBatch(dataset, num_epochs=self.epochs)).proxy()

        YOLO("yolo11n.yaml").train(data="bccd.yaml", epochs=100, trainer=PrunedTrainer)

    - The training loader serves the images that the method selects, shuffled, with the settings of
      the trainer's own loader. With several processes each one serves its share.
    - The loss of each batch is scored once, before it is scaled for `backward`: the mean over its
      images, even if the criterion sums over them and the trainer multiplies by the processes. The
      logged losses are those before weights.
    - The epochs, the learning rate, the optimizer that `optimizer=auto` picks, and the weight decay
      are those of full training. Warm-up ends after as many epochs as in full training
      (`warmup_epochs`, rounded up). The optimizer steps after as many batches as in full training.
    - Mosaic is closed for the last `close_mosaic` epochs, also in workers.
    - After an out-of-memory error or a NaN, the trainer repeats the epoch; it repeats it from the
      scores at its beginning.
    - Next to each file of weights is one with the pruning state, such as `last.pruning.pt`.
      `resume=True` continues from both.
    - `results.csv` has the columns `pruning/share_saved` and `pruning/mean_score`.

    Attributes:
        pruned: the pruned dataset, once the trainer has built its loaders.

    Raises:
        ImportError: the version of Ultralytics lacks a method that the mixin overrides.
        TypeError: the mixin comes after the trainer in the list of bases (when the class is
            defined); or `prune` is missing, returns no pruned dataset, or one of a stream or a
            `Sharded`.
        ValueError: `prune` returns a dataset that was trained on before; or `rect=True`.
    """

    pruned: PrunedDataset
    _loader: PrunedLoader

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        check_comes_first(PrunedTrainerMixin, trainer_module.BaseTrainer, cls)

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        require(trainer_module, "TQDM", "ultralytics", TESTED)
        for name in _OVERRIDDEN:
            require(trainer_module.BaseTrainer, name, "ultralytics", TESTED)
        if type(self).prune is PrunedTrainerMixin.prune:
            name = type(self).__name__
            raise TypeError(
                f"{name} has no method prune(self, dataset), which makes the pruned dataset: "
                f"define it in {name}, such as return "
                "KalmanBLS(InfoBatch(dataset, num_epochs=self.epochs)).proxy()"
            )
        self._gap = 0
        self._epoch_start: dict[str, Any] = {}
        super().__init__(*arguments, **keywords)

    def prune(self, dataset: Any) -> PrunedDataset:
        """Return a new pruned dataset of the training set; your class defines this.

        `self` has the trainer's settings, such as `self.epochs` and `self.args`. Call `record` and
        `log_to` in here.

        Arguments:
            dataset: the training set of Ultralytics.
        """
        raise NotImplementedError

    # Loading

    def _build_train_pipeline(self) -> None:
        trainer: Any = self
        super()._build_train_pipeline()  # type: ignore[misc]
        if "pruned" in vars(self):  # memory was too small, and the epoch begins again
            dataset = self._loader.dataset
            self._repeat_epoch()
        else:
            dataset = trainer.train_loader.dataset
            self.pruned = _checked(self.prune(dataset))
            if not trainer.args.time:  # then the trainer changes the number of epochs as it goes
                warn_of_other_epochs(self.pruned, trainer.epochs)
        self._loader = PrunedLoader(self.pruned, dataset, trainer.train_loader)
        trainer.train_loader = self._loader

    def _do_train(self, *arguments: Any, **keywords: Any) -> None:
        with bars_of_pruned_epochs(lambda: self._loader.batches_of_epoch):
            super()._do_train(*arguments, **keywords)  # type: ignore[misc]

    # Scoring

    def _setup_train(self, *arguments: Any, **keywords: Any) -> None:
        trainer: Any = self
        super()._setup_train(*arguments, **keywords)  # type: ignore[misc]
        scaler = trainer.scaler  # the trainer passes it each loss, between its sum and `backward`
        vars(scaler)["scale"] = partial(self._score_and_scale, scaler.scale)

    def _score_and_scale(self, scale: Callable[[Tensor], Tensor], loss: Tensor) -> Tensor:
        return scale(self.pruned.update(loss, mean_loss=self._mean_over_images(loss)))

    def _mean_over_images(self, loss: Tensor) -> Tensor:
        """Return the mean loss of the current batch, detached.

        Criteria of Ultralytics multiply it by the number of images, except for classification.
        """
        trainer: Any = self
        images = 1 if trainer.args.task == "classify" else self._loader.num_images
        return loss.detach() / (images * self.pruned.epochs.ranks.world_size)

    # Epochs and steps

    def run_callbacks(self, event: str) -> None:
        """Begin or end a pruned epoch when the trainer does, then run the callbacks.

        Arguments:
            event: the name of the event.
        """
        if event == "on_train_epoch_start":
            self._epoch_start = self.pruned.state_dict()
        elif event == "on_train_epoch_end":
            self.pruned.end_epoch()  # also if `time` is up
            self._gap += self._loader.batches_per_full_epoch - self._loader.num_batches
        super().run_callbacks(event)  # type: ignore[misc]

    @property
    def accumulate(self) -> int:
        """The number of batches from one step of the optimizer to the next.

        The trainer compares it with a difference of batch numbers, and numbers those of each epoch
        as if the epochs before were full. So the numbers that were left out since the last step are
        added.
        """
        return self._accumulate + self._gap

    @accumulate.setter
    def accumulate(self, batches: int) -> None:
        self._accumulate = batches

    def optimizer_step(self) -> None:
        """Make a step of the optimizer."""
        super().optimizer_step()  # type: ignore[misc]
        self._gap = 0

    def _get_warmup_iterations(self, num_batches: int) -> int:
        iterations: int = super()._get_warmup_iterations(num_batches)  # type: ignore[misc]
        # warm-up reaches its targets at this number, which pruned epochs may leave out in their end
        return math.ceil(iterations / num_batches) * num_batches

    def _handle_nan_recovery(self, epoch: int) -> bool:
        is_repeated: bool = super()._handle_nan_recovery(epoch)  # type: ignore[misc]
        if is_repeated:
            self._repeat_epoch()
        return is_repeated

    def _repeat_epoch(self) -> None:
        self.pruned.load_state_dict(self._epoch_start)
        self._gap = 0

    # Checkpoints and logs

    def save_model(self) -> Any:
        """Save the weights, and the pruning state next to them.

        Returns:
            What the trainer's method returns.
        """
        trainer: Any = self
        saved = super().save_model()  # type: ignore[misc]
        weights = [trainer.last]
        if trainer.best_fitness == trainer.fitness:
            weights.append(trainer.best)
        numbered = trainer.wdir / f"epoch{trainer.epoch}.pt"
        save_pruning(self.pruned, [*weights, *([numbered] if numbered.exists() else [])])
        return saved

    def resume_training(self, ckpt: Any) -> None:
        """Continue a run, if the trainer does.

        Arguments:
            ckpt: the trainer's checkpoint.

        Raises:
            FileNotFoundError: there is no pruning state next to it.
        """
        trainer: Any = self
        super().resume_training(ckpt)  # type: ignore[misc]
        if ckpt is not None and trainer.resume:
            load_pruning(self.pruned, Path(trainer.args.model))

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Log the share of sample visits saved and the mean score with the trainer's metrics.

        Arguments:
            metrics: the trainer's metrics.
        """
        super().save_metrics({**metrics, **metrics_of(self.pruned)})  # type: ignore[misc]


def _checked(pruned: Any) -> PrunedDataset:
    """Return what the user's function has returned.

    Raises:
        TypeError: it is no pruned dataset, or one of a stream or a `Sharded`.
        ValueError: it was trained on before.
    """
    if not isinstance(pruned, PrunedDataset):
        raise TypeError(
            "prune must return a pruned dataset, such as KalmanBLS(InfoBatch(dataset, "
            f"num_epochs=self.epochs)).proxy(), but it returned a {type(pruned).__name__}"
        )
    if pruned.is_stream or has_scores_per_rank(pruned):
        raise TypeError(
            f"prune returned a pruned {type(pruned.dataset).__name__}, but Ultralytics needs the "
            "length of an epoch and one state for all processes: prune the dataset that was given"
        )
    if pruned.progress > 0:
        raise ValueError(
            "prune must create a new pruned dataset, but it returned one that has been trained for "
            f"{pruned.progress:.4g} epochs"
        )
    return pruned
