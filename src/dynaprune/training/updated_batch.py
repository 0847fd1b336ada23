"""Which batch an update is about, if more than one waits for its update.

Usually a loop fetches a batch and updates it before it fetches the next one. Then exactly one batch
waits, and the update is about it. These rules are for all other loops:

1. The loop names the batch, by `update(batch=...)` or `update(indices=...)`: it is that one.
2. Several passes have batches that wait, because the loop looked at a batch of its own loader.
   Those of earlier epochs do not count, nor those whose last batch is gone, that is, freed. Of the
   others it is the one that was asked for by the innermost function on the stack. If that leaves
   several, it is the latest one before the first update of all, and an error afterwards.
3. In one pass earlier batches wait as well: the loop has skipped them, or it fetches ahead. They
   were skipped if they are gone and either the function that asks for the batches is the loop's and
   does so at one place, or loops at that place have updated a first batch before they asked for a
   second. Where batches live on after training, the latter is enough.
4. Everything else raises an error that says how to name the batch, among it a pass whose batches
   another thread fetches ahead.
"""

from __future__ import annotations

from collections.abc import Collection

from .callers import CallSite, call_site_of, distance_to, is_running
from .loader_pass import LoaderPass


def pass_to_update(passes: list[LoaderPass], done: str) -> LoaderPass:
    """Return the pass whose last batch an update is about.

    Arguments:
        passes: those under way, the one that has yielded a batch last at the end.
        done: what the user did, for messages.

    Raises:
        RuntimeError: no batch waits, or it is unknown which pass it is.
    """
    latest = passes[-1] if passes else None
    if latest is None or _was_only_looked_at(latest):
        raise RuntimeError(
            f"{done} before a batch was served by dynaprune.DataLoader. Iterate "
            "over DataLoader(train, ...) of dynaprune, where train is the pruned dataset and not "
            "the one that it wraps: the DataLoader of torch does not tell which samples are in a "
            "batch, nor does one over another dataset. With another loader, give "
            "it train.with_indices() and call update(loss, indices=indices). Under Accelerate, "
            "use prepare of dynaprune.integrations.accelerate"
        )
    waiting = [each for each in passes if each.waiting and not each.is_complete]
    candidates = [each for each in waiting if not each.is_over or each is latest]
    if not candidates:
        raise RuntimeError(_nothing_waits(latest, done))
    current = candidates[0] if len(candidates) == 1 else _one_of(candidates, done)
    # a pass that seemed to be a look, and then goes on, is a loop
    if current.was_passed_over or (latest.was_passed_over and latest.waiting):
        raise RuntimeError(_several_wait(done))
    return current


def check_skipped(current: LoaderPass, plain: Collection[CallSite], done: str) -> None:
    """Check that all waiting batches of a pass but the last one were skipped.

    Arguments:
        current: the pass.
        plain: where loops have updated a first batch before they asked for a second.
        done: what the user did, for messages.

    Raises:
        RuntimeError: it is unknown.
    """
    *earlier, last = current.waiting
    is_plain = call_site_of(current.callers) in plain
    if is_plain and current.keeps_all():
        is_skipping = True
    else:
        is_loop = is_running(current.callers) and not current.callers_differ and last.is_alive()
        is_skipping = (is_plain or is_loop) and not any(each.is_alive() for each in earlier)
    if current.is_fetched_by_thread() or not is_skipping:
        raise RuntimeError(
            f"{done}, but the loader has yielded another batch before, which has no update, so it "
            "is unknown which one the loss belongs to. A loop that fetches ahead names the batch: "
            "update(loss, batch=batch) with what the loader yielded, or, if it copies batches, "
            "give the loader train.with_indices() and call update(loss, indices=indices). A loop "
            "that skips a batch calls train.skip_batch() for it"
        )


def _one_of(candidates: list[LoaderPass], done: str) -> LoaderPass:
    """Return the pass whose last batch an update is about, if a batch waits in several.

    Raises:
        RuntimeError: it is unknown.
    """
    kept = [each for each in candidates if not each.was_passed_over] or candidates
    kept = [each for each in kept if not each.waiting[-1].is_gone()] or kept
    if len(kept) > 1:
        distances = [distance_to(each.callers) for each in kept]
        nearest = min(distances)
        kept = [each for each, own in zip(kept, distances, strict=True) if own == nearest]
    if len(kept) == 1:
        return kept[0]
    if any(each.is_trained for each in kept):
        raise RuntimeError(_several_wait(done))
    # before the first update of all: the user has looked at a batch, and then begun the loop. If it
    # was the other way round, the next update finds out
    *others, latest = kept
    for each in others:
        each.was_passed_over = True
    return latest


def _was_only_looked_at(latest: LoaderPass) -> bool:
    """Whether the function that began a pass has left it after a batch that is gone."""
    if latest.is_open or not latest.waiting or not latest.waiting[-1].is_gone():
        return False
    return not is_running(latest.callers)


def _several_wait(done: str) -> str:
    return (
        f"{done}, but several iterators over the loader have each yielded a batch that has no "
        "update, so it is unknown which one the loss belongs to. Name the batch by "
        "update(loss, batch=batch) with what the loader yielded, or delete the iterator that only "
        "looks at batches before you go on"
    )


def _nothing_waits(latest: LoaderPass, done: str) -> str:
    if latest.is_open:
        return (
            f"{done} twice for one batch. Add up the losses of a batch first and call it once "
            "with their sum. An optimizer that evaluates the loss of a batch several times (LBFGS) "
            "updates with the first evaluation, and multiplies the others by train.batch_weight"
        )
    return (
        f"{done} after the last batch, or twice for it. Call it once for each "
        "batch, before the next one is fetched. If the loop fetches batches ahead, call "
        "update(loss, batch=batch) with what the loader yielded, or give the loader "
        "train.with_indices() and call update(loss, indices=indices)"
    )
