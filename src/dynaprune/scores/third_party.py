"""Objects of other libraries that follow the InfoBatch convention, scored by one of our scores.

The convention of the published InfoBatch, SeTa and their derivatives: an object has `scores`, a
tensor of shape (N,), and usually `weights` of the same shape; its loader sets `cur_batch_index`,
the samples of the current batch; the loop calls `update`; and the object reads `scores` when it
prunes.

`adopt` keeps all of that and replaces three things on the one object: `update`, which then accepts
a mean loss; `scores`, which are computed when they are read; and samplers that begin a new epoch
whenever torch calls `iter()` on them, which it does for each batch. The object's class becomes a
subclass of its original one, so `isinstance` still holds and other objects of that class are not
affected.
"""

from __future__ import annotations

import copy
import functools
import inspect
from types import MemberDescriptorType, new_class
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..data.indexed import as_indices, check_range
from ..losses.buffer import LossBuffer
from ..losses.reweighting import check_loss, scale, scale_slices
from ..utils.processes import require_single_process
from .restarting import as_one_epoch

if TYPE_CHECKING:
    from .base import Score

REQUIRED = {
    "scores": "a tensor of shape (N,), which it reads when it prunes",
    "cur_batch_index": "the samples of the current batch, which its loader sets",
    "update": "a method that the loop calls with the loss of the batch",
}


def adopt(base: Any, score: Score) -> None:
    """Make `score` score `base` from now on.

    Raises:
        TypeError: `base` does not follow the convention, or its class cannot be derived from.
        RuntimeError: it is scored by another score already.
    """
    name, kind = type(score).__name__, type(base).__name__
    if hasattr(type(base), "_dynaprune"):
        raise RuntimeError(f"this {kind} is scored by {type(base)._dynaprune.name} already")
    _check_convention(base, name)
    found = inspect.getattr_static(type(base), "scores", None)
    if hasattr(found, "__set__") and not isinstance(found, MemberDescriptorType):
        raise TypeError(
            f"the class of this {kind} computes its scores, so they cannot be replaced by those of "
            f"{name}: scores must be an attribute of the object, {REQUIRED['scores']}"
        )
    for vector in ("scores", "weights"):
        if _has(base, vector) and (vector == "scores" or getattr(base, vector) is not None):
            _check_vector(base, vector, getattr(base, vector))
    _derive(base, _State(score, base.scores, _samplers_of(base)))


def check_update(base: Any, name: str) -> None:
    """Check that the object itself has no `update` that would override that of its class.

    Raises:
        RuntimeError: it has one.
    """
    if "update" in getattr(base, "__dict__", {}):
        kind = type(base).__name__
        raise RuntimeError(
            f"update of this {kind} was replaced on the object itself, as the proxy of another "
            f"library does, and would override that of {name}: make a new {kind}, and call only "
            f"{name}(...).proxy() on it"
        )


def _check_convention(base: Any, name: str) -> None:
    kind = type(base).__name__
    missing = [each for each in REQUIRED if not _has(base, each)]
    if missing:
        wanted = "; ".join(f"{each}, {REQUIRED[each]}" for each in missing)
        inner = getattr(base, "dataset", None)
        hint = ""
        if hasattr(inner, "adopt_score") or all(hasattr(inner, each) for each in REQUIRED):
            hint = (
                f". Its dataset, a {type(inner).__name__}, can be scored: wrap that, with "
                f"{name}(...).proxy(), before it becomes part of a {kind}"
            )
        raise TypeError(
            f"{name}(base).proxy() needs an object of a dynaprune method, or one that follows the "
            f"InfoBatch convention, but the given {kind} has no {', '.join(missing)} of its own. "
            f"Missing: {wanted}{hint}"
        )
    if type(base).__dictoffset__ == 0:
        raise TypeError(f"a {kind} cannot hold a score: it defines __slots__")


def _has(base: Any, name: str) -> bool:
    """Whether an attribute is the object's own, not one that `__getattr__` finds elsewhere."""
    try:
        inspect.getattr_static(base, name)
    except AttributeError:
        return False
    return True


def _check_vector(base: Any, name: str, values: Any) -> None:
    given = type(values).__name__
    if isinstance(values, Tensor):
        # means written to an integer tensor would be rounded, and samples become equal
        if values.shape == (len(base),) and (values.is_floating_point() or name == "weights"):
            return
        given = f"{values.dtype} of shape {tuple(values.shape)}"
    raise TypeError(
        f"{name} of this {type(base).__name__} must be a tensor of shape ({len(base)},), one "
        f"number for each sample{', and float' * (name == 'scores')}, but {given} was found"
    )


class _State:
    """What `adopt` adds to an object."""

    def __init__(self, score: Score, scores: Tensor, samplers: list[str]) -> None:
        self.score = score
        self.samplers = samplers  # the names of attributes and methods that give samplers
        self.scores = scores  # the object's own tensor, on its own device
        self.is_started = False  # whether a loss was observed since the object was created
        self.record = LossBuffer()
        self._written: Tensor | None = None  # a copy of the scores that were last written here
        self._read_at = -1  # the number of visits in them that are not yet folded permanently

    @property
    def name(self) -> str:
        return type(self.score).__name__

    def fold(self) -> None:
        """Update the scores with all reported losses.

        A score that compares batches with each other needs many of them: the batches so far are
        folded into a copy of it, and into the score itself once they make an epoch.
        """
        visits = self.record.num_visits
        if visits in (0, self._read_at):
            return
        if self.is_started and (self._written is None or not self.scores.equal(self._written)):
            self.score.restore(self.scores)  # the object may have written to its own scores
        is_kept = not self.score.compares_batches or visits >= self.score.num_samples
        batches = self.record.batches().finite()
        if len(batches) > 0:
            check_range(batches.indices, self.score.num_samples)  # indices on a device: only now
        score = self.score if is_kept else copy.deepcopy(self.score)
        score.fold(batches)
        if len(batches) > 0:
            self.is_started = True
            self.scores.copy_(score.values())
            self._written = self.scores.clone()
        self._read_at = visits
        if is_kept:
            self.record, self._read_at = LossBuffer(), -1


def _read_scores(base: Any) -> Tensor:
    """The scores, shape (N,), with all losses reported so far."""
    state = _state_of(base)
    state.fold()
    return state.scores


def _write_scores(base: Any, scores: Tensor) -> None:
    """Replace the scores, as a resumed run does; losses reported before are discarded."""
    state: _State = type(base)._dynaprune
    _check_vector(base, "scores", scores)
    vars(base)["scores"] = scores
    state.scores, state.is_started, state.record = scores, True, LossBuffer()
    state._written, state._read_at = None, -1


def _state_of(base: Any) -> _State:
    """Return the state, including scores that the object has written to its `__dict__`."""
    state: _State = type(base)._dynaprune
    scores = vars(base).get("scores")
    if scores is not state.scores and scores is not None:
        if isinstance(scores, Tensor) and scores.equal(state.scores):
            state.scores = scores
        else:
            _write_scores(base, scores)
    return state


def _update(base: Any, loss: Tensor) -> Tensor:
    """Score the current batch by its loss and return the loss, multiplied by its weights.

    Arguments:
        base: the object.
        loss: the batch's mean loss, of one element; a loss vector of shape (B,); or the mean losses
            of C slices of the batch, of shape (C,).

    Raises:
        RuntimeError: there is no current batch, or the loss has the wrong shape.
    """
    state = _state_of(base)
    require_single_process(f"{state.name}.proxy() on a {type(base).__name__}")
    if base.cur_batch_index is None or len(base.cur_batch_index) == 0:
        raise RuntimeError(
            f"update() was called without a current batch: cur_batch_index of this "
            f"{type(base).__name__} is empty. Call it once for each batch, after the loader "
            "has set cur_batch_index"
        )
    positions = as_indices(base.cur_batch_index, f"cur_batch_index of this {type(base).__name__}")
    if positions.device.type == "cpu":  # checking them on a device would synchronize
        check_range(positions, len(base))
    check_loss(loss, len(positions), state.score)
    weights = _weights_of(base, positions)
    if loss.numel() > 1:
        scaled = scale_slices(loss, weights, len(positions))
    elif isinstance(weights, Tensor):
        on_host = weights.device.type == "cpu"
        scaled = scale(loss, float(weights.mean()) if on_host else weights.mean())
    else:
        scaled = scale(loss, weights)
    if "cur_batch_index" in vars(base):
        vars(base)["cur_batch_index"] = []
    else:
        base.cur_batch_index = []
    state.record.append(positions, loss)
    # some of these objects stop reading their scores late in a run: bound the record's size
    if state.record.num_visits >= state.score.num_samples:
        state.fold()
    return scaled


def _weights_of(base: Any, positions: Tensor) -> float | Tensor:
    """Return the weights of some samples: shape (B,), or 1.0 where the object has none."""
    weights = base.weights if _has(base, "weights") else None
    if weights is None:
        return 1.0
    # out-of-range indices are detected in `fold`: on CUDA they would break the context here
    found: Tensor = weights[positions.to(weights.device).clamp(0, len(weights) - 1)]
    return found if found.is_floating_point() else found.float()


def _samplers_of(base: Any) -> list[str]:
    """Return the names of the attributes and methods that give samplers."""
    return [name for name in dir(type(base)) + list(vars(base)) if name.endswith("sampler")]


def _sampler(name: str) -> property:
    """Return the property `name` of a derived class: the original sampler, one epoch at a time."""

    def read(base: Any) -> Any:
        found = vars(base)[name] if name in vars(base) else getattr(super(type(base), base), name)
        if inspect.isroutine(found):
            return functools.wraps(found)(
                lambda *args, **kwargs: as_one_epoch(found(*args, **kwargs))
            )
        return as_one_epoch(found)

    def write(base: Any, sampler: Any) -> None:
        vars(base)[name] = sampler

    return property(read, write)


def _reduce(base: Any, protocol: Any) -> Any:
    """Support pickling and copying of an object whose class is in no module."""
    derived = type(base)
    original: Any = derived.__base__
    made = original.__reduce_ex__(base, max(2, protocol))
    make, args, values, *content = (*made, None)[: max(3, len(made))]
    args = tuple(original if each is derived else each for each in args)
    if isinstance(values, tuple) and len(values) == 2 and isinstance(values[1], dict):
        own, slots = values  # its scores are in the state, and would count as written by the user
        values = own, {name: value for name, value in slots.items() if name != "scores"}
    return _remake, (make, args, derived._dynaprune), values, *content


def _remake(make: Any, args: Any, state: _State) -> Any:
    base = make(*args)
    _derive(base, state)
    return base


def _derive(base: Any, state: _State) -> None:
    """Make the class of one object a subclass of its original one, with replaced attributes.

    Raises:
        TypeError: its class cannot be derived from or replaced.
    """
    original = type(base)
    # no mix-in class: an object's class can only be replaced by one of the same layout
    replaced: dict[str, Any] = {
        "__doc__": original.__doc__,
        "__module__": original.__module__,
        "__slots__": (),
        # another object of this class, as dataclasses.replace makes one, is not scored
        "__new__": lambda cls, *args, **kwargs: original(*args, **kwargs),
        "__reduce_ex__": _reduce,
        "_dynaprune": state,
        "scores": property(_read_scores, _write_scores),
        "update": _update,
    } | {name: _sampler(name) for name in state.samplers}
    before = dict(vars(base))
    vars(base)["scores"] = state.scores
    try:
        derived: Any = new_class(
            original.__name__, (original,), exec_body=lambda own: own.update(replaced)
        )
        object.__setattr__(base, "__class__", derived)  # works for frozen objects, too
        is_replaced = type(base) is derived and getattr(base.update, "__func__", None) is _update
    except TypeError as error:
        is_replaced, why = False, str(error)
    else:
        why = "its class controls its attributes itself"
    if not is_replaced:
        if type(base) is not original:
            object.__setattr__(base, "__class__", original)
        vars(base).clear()
        vars(base).update(before)
        raise TypeError(
            f"a {original.__name__} cannot be scored by {state.name}, because its update cannot be "
            f"replaced: {why}"
        )
