"""The object a user holds: a dataset that decides which of its samples an epoch trains on."""

from __future__ import annotations

import copy
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from .distributed import require_single_process
from .indexed import IndexedDataset, fetch
from .loss import check_loss, scale
from .passes import Pass
from .plan import Indices, Plan, Selection, epoch_generator, make_plan
from .record import LossRecord
from .sampler import PruningSampler
from .scores import SampleLoss, Score
from .summary import Summary
from .validation import check_integer, check_map_style

logger = logging.getLogger("dynaprune")

STATE_VERSION = 1


class PrunedDataset(Dataset[Any], ABC):
    """A training set of which every epoch serves the samples that a pruning method selects.

    Methods (`InfoBatch`, `SeTa`, …) are subclasses with one function, `select`. The life of an
    epoch: the sampler asks for a plan; the loader serves it; `update` takes down a loss a batch;
    and when the next plan is needed, the losses are folded into the scores.

    An epoch that has seen no `update` is served again, so looking at a batch costs nothing; one
    that was left early after some updates is over.

    Arguments:
        dataset: a map-style dataset, with `__getitem__` and `__len__`.
        num_epochs: the number of epochs E that the run will train.
        seed: fixes every random choice, together with the epoch's number; at least 0.

    Raises:
        TypeError: `dataset` is not map-style; `num_epochs` or `seed` is no integer.
        ValueError: `dataset` is empty; `num_epochs` is below 1 or `seed` below 0.
    """

    default_score: ClassVar[type[Score]] = SampleLoss
    """The score that the method was published with."""

    def __init__(self, dataset: Any, num_epochs: int, *, seed: int = 0) -> None:
        self._num_samples = check_map_style(dataset)
        self.dataset = dataset
        self.num_epochs = check_integer("num_epochs", num_epochs, minimum=1)
        self.seed = check_integer("seed", seed, minimum=0)
        self._epoch = 0
        self._plan: Plan | None = None  # of epoch _epoch; made when it is first needed
        self._record = LossRecord()  # what epoch _epoch has reported
        self._active: Pass | None = None  # the pass whose batch is at hand
        self._trained: Pass | None = None  # the pass that updates have come from
        self._times_begun = 0
        self._totals = Summary()  # of the epochs before _epoch
        self._began_at = 0.0
        self._updated_at = 0.0
        self._score: Score
        self.default_score(self).proxy()

    # What a method defines

    @abstractmethod
    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Choose the samples of an epoch: a pure function of its arguments.

        Arguments:
            scores: float32, shape (N,); the higher, the more worth training on. Not to be written.
            epoch: the epoch's number, from 0.
            generator: the source of all randomness.
        """

    # The dataset, as it was

    def __len__(self) -> int:
        return self._num_samples

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[index]

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """Fetch many samples at once, in the way that the dataset itself is fetched."""
        return fetch(self.dataset, indices)

    def __getattr__(self, name: str) -> Any:
        # reached for names that are not ours: classes, targets, transform, …
        if name.startswith("_") or "dataset" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        if not hasattr(self.dataset, name):
            raise AttributeError(
                f"neither {type(self).__name__} nor its dataset, a "
                f"{type(self.dataset).__name__}, has an attribute {name!r}"
            )
        return getattr(self.dataset, name)

    # What a training loop uses

    @property
    def sampler(self) -> PruningSampler:
        """The sampler for the training loader: it serves each epoch's plan."""
        return PruningSampler(self)

    def with_indices(self) -> IndexedDataset:
        """Return the dataset with samples `(sample, index)`, for loaders that are not ours.

        Give it to any loader together with `sampler`, and hand the indices of each batch back
        with `update(loss, indices=indices)`.
        """
        return IndexedDataset(self.dataset)

    def update(self, loss: Tensor, indices: Any = None) -> Tensor:
        """Take down the loss of the batch at hand and return it rescaled, ready for `backward`.

        A mean loss is multiplied by the mean weight of the batch's samples. A loss vector is
        multiplied by its samples' weights, then averaged. The loss is not read: there is no wait
        for a device, no transfer, and the given tensor is left as it is.

        Call it once a batch, with the loss of that batch alone: after several losses were summed
        up, before the sum is divided for gradient accumulation and before `scaler.scale`.

        Arguments:
            loss: the mean loss of the batch, of shape () or (1,), or a loss vector of shape (B,).
            indices: the batch's samples, integers of shape (B,), if a loader other than ours has
                served them (see `with_indices`). They may lie on any device.

        Returns:
            The loss to call `backward` on: shape (), in the type of `loss`.

        Raises:
            RuntimeError: there is no batch at hand, or it was updated already; the loss is no
                tensor or of another shape; `indices` are of another shape, or no samples of this
                dataset; the batch belongs to an epoch that is over.
        """
        plan, batch, weight = self._batch_at_hand() if indices is None else self._batch_of(indices)
        check_loss(loss, len(batch), self._score)
        scaled = scale(loss, plan.sample_weights(batch) if loss.numel() > 1 else weight)
        if self._record.num_visits == 0:
            self._log_epoch(plan)
        self._record.append(batch, loss)
        self._updated_at = time.perf_counter()
        self._trained = None
        if indices is None and self._active is not None:
            self._trained = self._active
            self._active.batch = None
        return scaled

    @property
    def scores(self) -> Tensor:
        """The scores with all that was reported so far: float32, shape (N,), a copy.

        Reading them in the middle of an epoch does not change what the run does.
        """
        return self._folded()[0].values().clone()

    @property
    def weights(self) -> Tensor:
        """The weights in the epoch that is being served or about to be: float32, shape (N,)."""
        weights = self._next_plan().weights
        return torch.ones(len(self)) if weights is None else torch.from_numpy(weights.copy())

    @property
    def epoch(self) -> int:
        """The number of the epoch that is being served or about to be, from 0."""
        return self._epoch + (1 if self._is_over() else 0)

    def summary(self) -> Summary:
        """Return what the run has cost and saved so far."""
        totals, visits = self._totals, self._record.num_visits
        if visits == 0 or self._plan is None:
            return totals
        return replace(
            totals,
            epochs=totals.epochs + 1,
            visits_made=totals.visits_made + visits,
            # a visit of an epoch that keeps K of N samples stands for N/K visits
            visits_avoided=totals.visits_avoided
            + visits * (len(self) - len(self._plan)) // len(self._plan),
            seconds=totals.seconds + self._updated_at - self._began_at,
        )

    def end_epoch(self) -> None:
        """Say that the epoch is over. Nothing happens if it has seen no `update`.

        Our `DataLoader` says so by itself, and the next `iter()` over any loader implies it. Call
        it where another loader serves the batches and `len(loader)` or `state_dict()` is wanted
        between two epochs.
        """
        if len(self._record) > 0:
            self._advance()

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return the state between two epochs: tensors and plain values only.

        Save it with `torch.save`; `torch.load(..., weights_only=True)` reads it.

        Raises:
            RuntimeError: an epoch is in progress.
        """
        plan = self._plan
        if plan is not None and 0 < self._record.num_visits < len(plan) and not self._is_over():
            raise RuntimeError(
                f"state_dict() was called in the middle of epoch {self._epoch}, after "
                f"{self._record.num_visits:,} of {len(plan):,} samples: take checkpoints between "
                "epochs. If this epoch is over (another library's loader has served it and left "
                "some samples out), call end_epoch() first"
            )
        score, left_out = self._folded()
        totals = self.summary()
        totals = replace(totals, losses_left_out=totals.losses_left_out + left_out)
        return {
            "version": STATE_VERSION,
            "method": type(self).__name__,
            "dataset": type(self.dataset).__name__,
            "num_samples": len(self),
            "seed": self.seed,
            "epoch": self._epoch + (1 if len(self._record) > 0 else 0),
            "score": score.state_dict(),
            "totals": asdict(totals),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken: the next epoch is the one that was due then.

        Raises:
            RuntimeError: the state is incomplete, or belongs to another dataset, length, method,
                score or seed. The object is left as it was.
        """
        expected = {
            "version": STATE_VERSION,
            "method": type(self).__name__,
            "dataset": type(self.dataset).__name__,
            "num_samples": len(self),
            "seed": self.seed,
        }
        missing = [key for key in (*expected, "epoch", "score", "totals") if key not in state]
        if missing:
            raise RuntimeError(
                f"the state is incomplete, it has no {', '.join(missing)}: was it made by "
                f"state_dict() of a {type(self).__name__}?"
            )
        for key, value in expected.items():
            if state[key] != value:
                raise RuntimeError(
                    f"the state belongs to another run: its {key} is {state[key]!r}, but here it "
                    f"is {value!r}. Make this object with the arguments of the run that saved it"
                )
        score = copy.deepcopy(self._score)
        score.load_state_dict(state["score"])
        totals = Summary(**state["totals"])
        self._score, self._totals, self._epoch = score, totals, int(state["epoch"])
        self._plan, self._record = None, LossRecord()
        self._active = self._trained = None

    # What scores, samplers and loaders use

    def adopt_score(self, score: Score) -> None:
        """Score the samples by `score` from the first epoch on; `Score.proxy` calls this.

        Raises:
            RuntimeError: there were updates already, or the score has another length.
        """
        if self._totals.epochs > 0 or len(self._record) > 0:
            raise RuntimeError(
                f"this {type(self).__name__} has been trained on: choose its score before the "
                "first epoch"
            )
        if score.values().numel() != len(self):
            raise RuntimeError(
                f"the score is of {score.values().numel():,} samples, but the dataset has "
                f"{len(self):,}"
            )
        self._score, self._plan = score, None

    def begin_epoch(self) -> Plan:
        """Return the plan to serve now; the sampler calls this at each `iter()`.

        Raises:
            RuntimeError: the dataset's length has changed, or several ranks train together.
        """
        require_single_process("a pruning sampler")
        in_progress = self._trained is not None and self._trained.is_open
        if len(self._record) > 0 and not in_progress:
            self._advance()
        if len(self._record) == 0:
            self._began_at = time.perf_counter()
        self._times_begun += 1
        return self._current_plan()

    def epoch_length(self) -> int:
        """Return the number of samples in the epoch that is being served or about to be."""
        return len(self._next_plan())

    def open_pass(self) -> Pass:
        """Begin a run of a loader; it is to call `hand_over` and `close_pass`."""
        return Pass(self._active, self._times_begun)

    def hand_over(self, current: Pass, batch: NDArray[np.int64]) -> None:
        """Take the samples of the batch, int64, shape (B,), that the loader yields next.

        Raises:
            RuntimeError: the loader's sampler is not the one of this object.
        """
        if current.plan is None:
            if self._times_begun == current.times_begun:
                raise RuntimeError(
                    "the loader does not use the sampler of the pruned dataset, so nothing would "
                    "be pruned: pass sampler=train.sampler, or a batch sampler built on it, such "
                    "as BatchSampler(train.sampler, 128, drop_last=False)"
                )
            current.plan = self._current_plan()
        current.batch, current.mean_weight = batch, current.plan.mean_weight(batch)
        self._active = current

    def close_pass(self, current: Pass) -> None:
        """End a run of a loader. The batch at hand is the one of the pass around it, if any."""
        current.is_open = False
        if self._active is current and current.outer is not None and current.outer.is_open:
            self._active = current.outer

    # The life of an epoch

    def _current_plan(self) -> Plan:
        """Return the plan of the epoch, made if need be."""
        if self._plan is None:
            started = time.perf_counter()
            if len(self.dataset) != len(self):
                raise RuntimeError(
                    f"the dataset has {len(self.dataset):,} samples now, but had {len(self):,} "
                    f"when this {type(self).__name__} was made: scores belong to samples by their "
                    "index, so wrap the changed dataset anew"
                )
            generator = epoch_generator(self.seed, self._epoch)
            selection = self.select(self._score.values(), self._epoch, generator)
            self._plan = make_plan(selection, len(self), self._epoch, self.seed)
            self._add_planning_time(started)
        return self._plan

    def _next_plan(self) -> Plan:
        """Return the plan that is being served or about to be."""
        if self._is_over():
            self._advance()
        return self._current_plan()

    def _is_over(self) -> bool:
        """Whether the epoch was trained on and its pass has ended."""
        return len(self._record) > 0 and self._trained is not None and not self._trained.is_open

    def _advance(self) -> None:
        """Fold what the epoch has reported into the scores and go on to the next one."""
        totals = self.summary()
        started = time.perf_counter()
        self._score, left_out = self._folded()
        if left_out:
            logger.warning(
                "epoch %d: %d losses were not finite and were left out of scoring",
                self._epoch,
                left_out,
            )
        self._totals = replace(totals, losses_left_out=totals.losses_left_out + left_out)
        self._epoch, self._plan, self._record = self._epoch + 1, None, LossRecord()
        self._add_planning_time(started)

    def _folded(self) -> tuple[Score, int]:
        """Return the scores with the record folded in, and the number of losses left out."""
        if len(self._record) == 0:
            return self._score, 0
        batches = self._record.batches()
        finite = batches.finite()
        score = copy.deepcopy(self._score)
        for part in finite.disjoint():
            score.observe(part)
        return score, len(batches) - len(finite)

    def _add_planning_time(self, started: float) -> None:
        spent = self._totals.planning_seconds + time.perf_counter() - started
        self._totals = replace(self._totals, planning_seconds=spent)

    def _log_epoch(self, plan: Plan) -> None:
        if not logger.isEnabledFor(logging.INFO):  # then no mean is computed either
            return
        logger.info(
            "epoch %d: serving %s of %s samples (%.1f%% skipped), %.1f%% of visits saved before, "
            "mean score %.4g",
            plan.epoch,
            f"{len(plan):,}",
            f"{len(self):,}",
            100 * (1 - len(plan) / len(self)),
            100 * self._totals.share_saved,
            self._score.values().mean().item(),
        )

    # Checks of what a loop hands in

    def _batch_at_hand(self) -> tuple[Plan, Indices, float | Tensor]:
        """Return plan, samples and mean weight of the batch that our loader handed over last."""
        active = self._active
        if active is None or active.batch is None:
            raise RuntimeError(self._why_no_batch())
        if self._plan is None or active.plan is not self._plan:
            raise RuntimeError(
                "update() was called for a batch of an epoch that is over: another loop over the "
                "loader has begun the next one in the meantime"
            )
        return self._plan, active.batch, active.mean_weight

    def _batch_of(self, indices: Any) -> tuple[Plan, Indices, float | Tensor]:
        """Return plan, samples and mean weight of a batch that another loader has served."""
        if self._plan is None or self._times_begun == 0:
            raise RuntimeError(
                "update(loss, indices=...) was called, but no loader has asked train.sampler for "
                "an epoch, so nothing is pruned: give the loader sampler=train.sampler"
            )
        batch = self._check_indices(indices)
        return self._plan, batch, self._plan.mean_weight(batch)

    def _why_no_batch(self) -> str:
        """Say why there is no batch at hand, and how to mend that."""
        if self._active is None:
            return (
                "update() was called before a batch was served by dynaprune.DataLoader. Iterate "
                "over DataLoader(train, sampler=train.sampler, ...) of dynaprune: the DataLoader "
                "of torch does not tell which samples are in a batch. With another loader, give "
                "it train.with_indices() and call update(loss, indices=indices)"
            )
        if self._active.is_open:
            return (
                "update() was called twice for one batch. Add up the losses of a batch first and "
                "call it once with their sum"
            )
        return (
            "update() was called after the last batch, or twice for it. Call it once for each "
            "batch, before the next one is fetched. If the loop fetches batches ahead, give the "
            "loader train.with_indices() and call update(loss, indices=indices)"
        )

    def _check_indices(self, indices: Any) -> Indices:
        """Return the samples of a batch as an array on the host, or as a tensor on its device."""
        batch = indices if isinstance(indices, Tensor) else torch.as_tensor(indices)
        if (
            batch.dim() != 1
            or batch.numel() == 0
            or batch.is_floating_point()
            or batch.is_complex()
        ):
            raise RuntimeError(
                f"update(loss, indices=...) wants the batch's samples as integers of shape (B,), "
                f"but {batch.dtype} of shape {tuple(batch.shape)} was given"
            )
        batch = batch.detach().long()
        if batch.device.type != "cpu":
            return batch  # checked when it is folded: looking at it now would wait for the device
        self._check_range(batch)
        return np.asarray(batch)

    def _check_range(self, indices: Tensor) -> None:
        lowest, highest = (int(bound) for bound in torch.aminmax(indices))
        if lowest < 0 or highest >= len(self):
            raise RuntimeError(
                f"the indices of a batch must be sample numbers from 0 to {len(self) - 1:,}, but "
                f"{lowest if lowest < 0 else highest} was given"
            )
