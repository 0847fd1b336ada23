"""Distributed data parallel: the same three lines; each rank trains on its share.

    torchrun --nproc-per-node 2 examples/train_ddp.py [--epochs 20] [--checkpoint ddp.pt]

You can stop it at any time: the same command resumes, also with another number of processes.
Needs scikit-learn for its digits: `pip install '.[demo]'` in the clone.
"""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import TensorDataset

from dynaprune import BLS, DataLoader, InfoBatch, PrunedScheduler, load_checkpoint, save_checkpoint

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--checkpoint", type=Path, default=Path("ddp.pt"))
arguments = parser.parse_args()

on_gpu = torch.cuda.is_available()
distributed.init_process_group("nccl" if on_gpu else "gloo")
rank = distributed.get_rank()
device = torch.device("cuda", rank % torch.cuda.device_count()) if on_gpu else torch.device("cpu")
if on_gpu:
    torch.cuda.set_device(device)

torch.manual_seed(0)
torch.set_num_threads(1)  # more threads do not speed up a model this small
images, labels = map(torch.tensor, load_digits(return_X_y=True))
images = images.float() / 16
train_set, test_images, test_labels = (
    TensorDataset(images[:1400], labels[:1400]),
    images[1400:],
    labels[1400:],
)

train = BLS(InfoBatch(train_set, arguments.epochs)).proxy()  # the same on all ranks
loader = DataLoader(train, batch_size=16)  # per rank
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).to(device)
parallel = DistributedDataParallel(model)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(parallel.parameters())
steps = loader.batches_per_full_epoch
one_cycle = torch.optim.lr_scheduler.OneCycleLR(
    optimizer, max_lr=0.01, epochs=arguments.epochs, steps_per_epoch=steps
)
scheduler = PrunedScheduler(one_cycle, loader, steps_per_full_epoch=steps)

parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "train": train}
if arguments.checkpoint.exists():
    states = load_checkpoint(arguments.checkpoint)  # the same on all ranks
    for name, part in parts.items():
        part.load_state_dict(states[name])
    print(f"rank {rank}: going on at epoch {train.progress:.2f}")

step = 0
for _ in range(train.epoch, arguments.epochs):
    for batch_images, batch_labels in loader:
        loss = criterion(parallel(batch_images.to(device)), batch_labels.to(device))
        loss = train.update(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        step += 1
        if step % 50 == 0:
            states = {name: part.state_dict() for name, part in parts.items()}  # on all ranks
            if rank == 0:
                save_checkpoint(arguments.checkpoint, **states)

if rank == 0:
    model.eval()
    accuracy = (model(test_images.to(device)).argmax(1).cpu() == test_labels).float().mean()
    print(f"test accuracy {accuracy:.1%}; {train.summary()}")
del parallel  # it holds the process group, and gloo may abort if that exists at exit
distributed.barrier()
distributed.destroy_process_group()
