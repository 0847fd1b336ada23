"""Trains, is killed again and again with SIGKILL, resumes, and tells what came of it.

    python kills.py FOLDER WORLD_SIZE KILLS [--stream]

It forks the training processes, so that each life begins at once; this process itself runs nothing
of torch before. It prints a line of JSON: how often the run was killed, how often of that in the
middle of an epoch, and whether batches, scores and weights are those of a run that was not killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from dynaprune import (
    BLS,
    DataLoader,
    InfoBatch,
    PrunedIterableDataset,
    PrunedScheduler,
    load_checkpoint,
    save_checkpoint,
)

EPOCHS, SAMPLES, BATCH = 8, 480, 6


def train(folder: Path, rank: int, world_size: int, *, patience: float, is_stream: bool) -> None:
    """Train from the last checkpoint on, and write down every batch and what came of it."""
    torch.set_num_threads(1)
    if world_size > 1:
        distributed.init_process_group(
            "gloo",
            init_method=f"file://{folder}/{(folder / 'store').read_text()}",
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=60),
        )
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(SAMPLES, 8, generator=generator)
    dataset = torch.utils.data.TensorDataset(inputs, inputs.sum(1, keepdim=True))
    pruned = BLS(InfoBatch(as_stream(dataset) if is_stream else dataset, EPOCHS)).proxy()
    loader = DataLoader(pruned, batch_size=BATCH, num_workers=2)
    model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.2), nn.Linear(16, 1))
    parallel = DistributedDataParallel(model) if world_size > 1 else model
    optimizer = torch.optim.AdamW(model.parameters())
    steps = loader.batches_per_full_epoch
    one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, EPOCHS * steps)
    scheduler = PrunedScheduler(one_cycle, loader, steps)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "loader": loader}

    step, path = 0, folder / "checkpoint.pt"
    if path.exists():
        states = load_checkpoint(path)
        for name, part in parts.items():
            part.load_state_dict(states[name])
        step = states["step"]
        torch.set_rng_state(states["random"])
    with (folder / f"log-{rank}").open("a") as log:
        for epoch in range(pruned.epoch, EPOCHS):
            for batch_inputs, targets in loader:
                loss = (parallel(batch_inputs) - targets).square().mean()
                loss = pruned.update(loss)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                step += 1
                sums = batch_inputs.sum(1).tolist()  # which samples they are
                log.write(json.dumps([step, epoch, sums, float(loss.detach())]) + "\n")
                log.flush()
                if step % 7 == 0:
                    states = {name: part.state_dict() for name, part in parts.items()}
                    if rank == 0:
                        random_state = torch.get_rng_state()
                        save_checkpoint(path, **states, step=step, random=random_state)
                time.sleep(patience)
    result = {"model": model.state_dict(), "scores": pruned.scores}
    save_checkpoint(folder / f"result-{rank}.pt", **result)
    if world_size > 1:
        distributed.destroy_process_group()


def as_stream(dataset: torch.utils.data.TensorDataset) -> PrunedIterableDataset:
    stored = [(number, *dataset[number]) for number in range(SAMPLES)]
    return PrunedIterableDataset(stored, key=0, decode=lambda each: each[1:], shuffle=SAMPLES)


def begin(folder: Path, world_size: int, patience: float, is_stream: bool) -> list[int]:
    """Fork the ranks, each the leader of its loader's workers; return their process numbers."""
    store = f"store-{time.time_ns()}"
    (folder / "store").write_text(store)
    ranks = []
    for rank in range(world_size):
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            try:
                train(folder, rank, world_size, patience=patience, is_stream=is_stream)
            except BaseException as error:
                (folder / f"error-{time.time_ns()}").write_text(repr(error))
                os._exit(1)
            os._exit(0)
        ranks.append(child)
    return ranks


def end(ranks: list[int]) -> list[int]:
    """Wait for the ranks and return their exit codes."""
    return [os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) for rank in ranks]


def wait_for(log: Path, lines: int, seconds: float = 60.0) -> None:
    """Wait until `lines` more steps than now were written down."""
    before = log.read_text().count("\n") if log.exists() else 0
    deadline = time.monotonic() + seconds
    while not log.exists() or log.read_text().count("\n") < before + lines:
        if time.monotonic() > deadline:
            raise SystemExit(f"no {lines} steps in {seconds} s")
        time.sleep(0.002)


def steps_of(folder: Path, rank: int) -> dict[int, set[str]]:
    """Return what was written down about each step, in all lives."""
    steps: dict[int, set[str]] = {}
    for line in (folder / f"log-{rank}").read_text().splitlines():
        if line.endswith("]"):  # the last line of a life may be cut short
            steps.setdefault(json.loads(line)[0], set()).add(line)
    return steps


def main(folder: Path, world_size: int, kills: int, is_stream: bool) -> None:
    """Train once undisturbed, once killed; compare."""
    whole, killed = folder / "whole", folder / "killed"
    whole.mkdir()
    killed.mkdir()
    if any(end(begin(whole, world_size, 0.0, is_stream))):
        raise SystemExit([path.read_text() for path in whole.glob("error-*")])
    draw, in_the_middle, done = random.Random(world_size), 0, 0
    while done < kills:
        ranks = begin(killed, world_size, 0.01, is_stream)
        wait_for(killed / "log-0", draw.randint(1, 25))
        time.sleep(draw.uniform(0.0, 0.02))  # at any point of a step
        for rank in ranks:
            try:
                os.killpg(rank, signal.SIGKILL)
            except ProcessLookupError:
                raise SystemExit("the run ended before it had been killed often enough") from None
        if any(code != -signal.SIGKILL for code in end(ranks)):
            raise SystemExit([path.read_text() for path in killed.glob("error-*")] or "too late")
        done += 1
        if (killed / "checkpoint.pt").exists():
            progress = load_checkpoint(killed / "checkpoint.pt")["loader"]["progress"]
            in_the_middle += progress["indices"].numel() > 0
    if any(end(begin(killed, world_size, 0.0, is_stream))):
        raise SystemExit([path.read_text() for path in killed.glob("error-*")])
    if leftovers := list(killed.glob(".dynaprune-*")):
        raise SystemExit(f"saves that were killed have left {leftovers}")
    same = {"batches": True, "scores": True, "weights": True}
    lives = 0
    for rank in range(world_size):
        expected, steps = steps_of(whole, rank), steps_of(killed, rank)
        same["batches"] &= expected == steps  # also what was done again after a kill
        lives += len((killed / f"log-{rank}").read_text().splitlines()) - len(steps)
        one, other = (load_checkpoint(each / f"result-{rank}.pt") for each in (whole, killed))
        same["scores"] &= one["scores"].equal(other["scores"])
        same["weights"] &= all(one["model"][k].equal(v) for k, v in other["model"].items())
    report = {"kills": done, "in the middle": in_the_middle, "steps repeated": lives, **same}
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), "--stream" in sys.argv)
