"""The object a user holds: a dataset that decides which of its samples an epoch trains on."""

from __future__ import annotations

import copy
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from .distributed import require_single_process
from .indexed import IndexedDataset, as_indices, fetch
from .loss import check_loss, scale
from .passes import Pass, Passes
from .plan import Indices, Plan, Selection, check_selection, epoch_generator, make_plan
from .record import LossRecord
from .sampler import PruningSampler
from .scores import SampleLoss, Score
from .summary import Summary
from .validation import check_integer, check_keys, check_map_style

logger = logging.getLogger("dynaprune")

STATE_VERSION = 1

T = TypeVar("T")


class PrunedDataset(Dataset[Any], ABC):
    """A training set of which every epoch serves the samples that a pruning method selects.

    Methods (`InfoBatch`, `SeTa`, …) are subclasses with one function, `select`. The life of an
    epoch: the sampler asks for a plan; the loader serves it; `update` takes down a loss a batch;
    and when the next plan is needed, the losses are folded into the scores.

    An epoch that has seen no `update` is served again, so looking at a batch changes nothing; one
    that was left early after some updates is over. A loader that begins while an epoch is in
    progress gets the plan of the next one, as things stand; with its first update that epoch
    has begun, and without any nothing has happened.

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
        self._fold: _Fold | None = None  # the record, folded, as far as it was then
        self._passes = Passes()
        self._begun: Plan | None = None  # the plan that the sampler was given last
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
        message = f"{type(self).__name__} has no attribute {name!r}"
        # not forwarded: what is read from the dataset would also be written, and that to nowhere
        if not name.startswith("_") and hasattr(self.__dict__.get("dataset"), name):
            message += f", but its dataset has: use .dataset.{name}"
        raise AttributeError(message)

    # What a training loop uses

    @property
    def sampler(self) -> PruningSampler:
        """The sampler for the training loader: it serves each epoch's plan."""
        return PruningSampler(self)

    def with_indices(self) -> IndexedDataset:
        """Return the dataset with samples `(sample, index)`, for loaders that are not ours.

        Give it to any loader together with `sampler`, and hand the indices of each batch back
        with `update(loss, indices=indices)`. Of such a loader nobody knows which batch comes from
        which `iter()`: do not begin a second run over it in the middle of an epoch.
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
        if indices is None:
            current = self._passes.at_hand()
            if current is None or current.batch is None:
                raise RuntimeError(self._why_no_batch(current))
            plan, batch, weight = current.plan, current.batch, current.mean_weight
        else:
            current = None
            plan, batch = self._served_plan(), self._check_indices(indices)
            weight = plan.mean_weight(batch)
        check_loss(loss, len(batch), self._score)
        if plan is not self._plan:
            self._go_on_to(plan)
        scaled = scale(loss, plan.sample_weights(batch) if loss.numel() > 1 else weight)
        if self._record.num_visits == 0:
            self._log_epoch(plan)
        self._record.append(batch, loss)
        self._updated_at = time.perf_counter()
        if current is None:
            self._passes.forget_batch()
        else:
            self._passes.take(current)
        return scaled

    @property
    def scores(self) -> Tensor:
        """The scores with all that was reported so far: float32, shape (N,), a copy.

        Reading them in the middle of an epoch does not change what the run does.
        """
        return self._folded().score.values().clone()

    @property
    def weights(self) -> Tensor:
        """The weights in the epoch that is being served or about to be: float32, shape (N,)."""
        weights = self._coming_plan().weights
        if weights is None:
            return torch.ones(len(self), dtype=torch.float32, device="cpu")
        return torch.from_numpy(weights.copy())

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

        Our `DataLoader` says so by itself, and an update from the next `iter()` over any loader
        implies it. Call it where another loader serves the batches and `len(loader)` or
        `state_dict()` is wanted between two epochs.
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
        plan, visits = self._plan, self._record.num_visits
        if plan is not None and visits > 0 and not self._is_over():
            trained = self._passes.trained
            due = len(plan) if trained is None else trained.num_samples
            if visits < due:
                raise RuntimeError(
                    f"state_dict() was called in the middle of epoch {self._epoch}, after "
                    f"{visits:,} of {due:,} samples: take checkpoints between epochs. If this "
                    "epoch is over (another library's loader has served it and left some samples "
                    "out), call end_epoch() first"
                )
        fold = self._folded()
        totals = self.summary()
        totals = replace(totals, losses_left_out=totals.losses_left_out + fold.left_out)
        return {
            **self._identity(),
            "epoch": self._epoch + (1 if visits > 0 else 0),
            "score": fold.score.state_dict(),
            "totals": asdict(totals),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken: the next epoch is the one that was due then.

        Raises:
            RuntimeError: the state is incomplete, or belongs to another dataset, length, method,
                score or seed. The object is left as it was.
        """
        check_keys(state, (*self._identity(), "epoch", "score", "totals"), "the state")
        for key, value in self._identity().items():
            if state[key] != value:
                raise RuntimeError(
                    f"the state belongs to another run: its {key} is {state[key]!r}, but here it "
                    f"is {value!r}. Make this object with the arguments of the run that saved it"
                )
        counts = asdict(Summary())
        check_keys(state["totals"], tuple(counts), "the state's totals")
        score = copy.deepcopy(self._score)
        score.load_state_dict(state["score"])
        self._score, self._epoch = score, int(state["epoch"])
        self._totals = Summary(**{key: state["totals"][key] for key in counts})
        self._plan, self._record, self._fold = None, LossRecord(), None
        self._passes, self._begun = Passes(), None

    def _identity(self) -> dict[str, Any]:
        """Return what a state and an object have to agree on."""
        return {
            "version": STATE_VERSION,
            "method": type(self).__name__,
            "dataset": type(self.dataset).__name__,
            "num_samples": len(self),
            "seed": self.seed,
        }

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
        started = time.perf_counter()
        plan = self._coming_plan()
        if len(self._record) == 0:
            self._began_at = started
        else:  # in the middle of an epoch: the next one, if this run trains, or just a look
            plan = self._next_plan()
        self._begun = plan
        self._times_begun += 1
        return plan

    def plan_begun_by(self, call: Callable[[], T]) -> tuple[T, Plan | None]:
        """Return what `call` returns, and the plan that the sampler has begun in it, if it has."""
        times_begun = self._times_begun
        result = call()
        return result, None if self._times_begun == times_begun else self._begun

    def epoch_length(self) -> int:
        """Return the number of samples in the epoch that is being served or about to be."""
        return len(self._coming_plan())

    def hand_over(self, current: Pass, batch: NDArray[np.int64]) -> None:
        """Take the samples of the batch, int64, shape (B,), that a loader yields next."""
        self._passes.hand_over(current, batch)

    def close_pass(self, current: Pass) -> None:
        """End a run of a loader."""
        self._passes.close(current)

    def pass_over(self, plan: Plan) -> None:
        """Go on to the epoch after `plan`, of which the loader could not make a single batch."""
        if plan is not self._plan or len(self._record) > 0:
            return  # just a look, in the middle of another epoch
        logger.warning(
            "epoch %d keeps %d samples, of which the loader makes no batch (drop_last with a "
            "larger batch size?): nothing is trained in it",
            plan.epoch,
            len(plan),
        )
        self._epoch, self._plan = self._epoch + 1, None

    # The life of an epoch

    def _coming_plan(self) -> Plan:
        """Return the plan of the epoch that is being served or about to be."""
        if self._is_over():
            self._advance()
        if self._plan is None:
            self._plan = self._make_plan(self._score, self._epoch)
        return self._plan

    def _next_plan(self) -> Plan:
        """Return the plan of the epoch after the one in progress, as things stand."""
        fold = self._folded()
        if fold.plan is None:
            fold.plan = self._make_plan(fold.score, self._epoch + 1)
        return fold.plan

    def _make_plan(self, score: Score, epoch: int) -> Plan:
        started = time.perf_counter()
        if len(self.dataset) != len(self):
            raise RuntimeError(
                f"the dataset has {len(self.dataset):,} samples now, but had {len(self):,} "
                f"when this {type(self).__name__} was made: scores belong to samples by their "
                "index, so wrap the changed dataset anew"
            )
        selection = self.select(score.values(), epoch, epoch_generator(self.seed, epoch))
        check_selection(selection, len(self), type(self).__name__)
        plan = make_plan(selection, len(self), epoch, self.seed)
        self._add_planning_time(started)
        return plan

    def _is_over(self) -> bool:
        """Whether the epoch was trained on and its pass has ended."""
        trained = self._passes.trained
        return len(self._record) > 0 and trained is not None and not trained.is_open

    def _go_on_to(self, plan: Plan) -> None:
        """End the epoch in progress, because a batch of the next one, by `plan`, is trained on."""
        if plan.epoch != self._epoch + 1 or len(self._record) == 0:
            raise RuntimeError(
                f"this batch belongs to epoch {plan.epoch}, which is over: another loop over the "
                f"loader has gone on to epoch {self._epoch} in the meantime"
            )
        self._advance()
        self._plan = plan
        self._began_at = time.perf_counter()

    def _advance(self) -> None:
        """Fold what the epoch has reported into the scores and go on to the next one."""
        totals = self.summary()
        fold = self._folded()
        if fold.left_out:
            logger.warning(
                "epoch %d: %d losses were not finite and were left out of scoring",
                self._epoch,
                fold.left_out,
            )
        left_out = totals.losses_left_out + fold.left_out
        # folding has added to the planning time, so it is taken from where it is up to date
        spent = self._totals.planning_seconds
        self._totals = replace(totals, losses_left_out=left_out, planning_seconds=spent)
        self._score, self._plan, self._epoch = fold.score, fold.plan, self._epoch + 1
        self._record, self._fold = LossRecord(), None

    def _folded(self) -> _Fold:
        """Return the scores with the record folded in."""
        visits = self._record.num_visits
        if visits == 0:
            return _Fold(self._score, 0, 0)
        if self._fold is None or self._fold.num_visits != visits:
            started = time.perf_counter()
            batches = self._record.batches()
            self._check_range(batches.indices)  # of those on a device nobody has looked at it yet
            finite = batches.finite()
            score = copy.deepcopy(self._score)
            for part in finite.disjoint():
                score.observe(part)
            self._fold = _Fold(score, visits, len(batches) - len(finite))
            self._add_planning_time(started)
        return self._fold

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

    def _served_plan(self) -> Plan:
        """Return the plan that another library's loader serves."""
        if self._begun is None:
            raise RuntimeError(
                "update(loss, indices=...) was called, but no loader has asked train.sampler for "
                "an epoch, so nothing is pruned: give the loader sampler=train.sampler"
            )
        return self._begun

    def _why_no_batch(self, current: Pass | None) -> str:
        """Say why there is no batch at hand, and how to mend that."""
        if current is None:
            return (
                "update() was called before a batch was served by dynaprune.DataLoader. Iterate "
                "over DataLoader(train, sampler=train.sampler, ...) of dynaprune: the DataLoader "
                "of torch does not tell which samples are in a batch. With another loader, give "
                "it train.with_indices() and call update(loss, indices=indices)"
            )
        if current.is_open:
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
        """Return the samples of a batch as an array on the host, or as a tensor on its device.

        A copy: the loop's tensor may be written to, and a worker's holds a file open.
        """
        batch = as_indices(indices, "update(loss, indices=...)")
        if batch.device.type != "cpu":
            return batch  # its range is checked when it is folded: now, the device would wait
        self._check_range(batch)
        return np.asarray(batch)

    def _check_range(self, indices: Tensor) -> None:
        lowest, highest = (int(bound) for bound in torch.aminmax(indices))
        if lowest < 0 or highest >= len(self):
            raise RuntimeError(
                f"the indices of a batch must be sample numbers from 0 to {len(self) - 1:,}, but "
                f"{lowest if lowest < 0 else highest} was given"
            )


@dataclass
class _Fold:
    """Scores with a record folded in, and the next epoch's plan, once it was asked for."""

    score: Score
    num_visits: int
    left_out: int
    plan: Plan | None = None
