"""A plain training loop, with a checkpoint every 50 steps and a learning-rate schedule.

    python examples/train_plain.py [--epochs 20] [--checkpoint plain.pt]

You can stop it at any time: the same command resumes from the last checkpoint.
Needs scikit-learn for its digits: `pip install '.[demo]'` in the clone.
"""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

from dynaprune import BLS, DataLoader, InfoBatch, PrunedScheduler, load_checkpoint, save_checkpoint

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--checkpoint", type=Path, default=Path("plain.pt"))
arguments = parser.parse_args()

torch.manual_seed(0)
torch.set_num_threads(1)  # more threads do not speed up a model this small
images, labels = map(torch.tensor, load_digits(return_X_y=True))
images = images.float() / 16
train_set, test_images, test_labels = (
    TensorDataset(images[:1400], labels[:1400]),
    images[1400:],
    labels[1400:],
)

train = BLS(InfoBatch(train_set, arguments.epochs)).proxy()
loader = DataLoader(train, batch_size=32, num_workers=2, persistent_workers=True)
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters())
steps = loader.batches_per_full_epoch
one_cycle = torch.optim.lr_scheduler.OneCycleLR(
    optimizer, max_lr=0.01, epochs=arguments.epochs, steps_per_epoch=steps
)
scheduler = PrunedScheduler(one_cycle, loader, steps_per_full_epoch=steps)

parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "train": train}
if arguments.checkpoint.exists():
    states = load_checkpoint(arguments.checkpoint)
    for name, part in parts.items():
        part.load_state_dict(states[name])
    torch.set_rng_state(states["random"])
    print(f"going on at epoch {train.progress:.2f}")

step = 0
for _ in range(train.epoch, arguments.epochs):
    for batch_images, batch_labels in loader:
        loss = criterion(model(batch_images), batch_labels)
        loss = train.update(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        step += 1
        if step % 50 == 0:
            states = {name: part.state_dict() for name, part in parts.items()}
            save_checkpoint(arguments.checkpoint, **states, random=torch.get_rng_state())

model.eval()
accuracy = (model(test_images).argmax(1) == test_labels).float().mean()
print(f"test accuracy {accuracy:.1%}; {train.summary()}")
