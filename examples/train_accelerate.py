"""Hugging Face Accelerate: dynaprune's `prepare` replaces that of the accelerator.

    accelerate launch examples/train_accelerate.py [--epochs 20] [--folder accelerated]

Needs `pip install '.[accelerate,demo]'` in the clone.
"""

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

from dynaprune import BLS, DataLoader, InfoBatch, PrunedScheduler
from dynaprune.integrations.accelerate import prepare

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--folder", type=Path, default=Path("accelerated"))
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

accelerator = Accelerator(gradient_accumulation_steps=2, cpu=not torch.cuda.is_available())
train = BLS(InfoBatch(train_set, arguments.epochs)).proxy()
loader = DataLoader(train, batch_size=16)  # per process
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters())
steps = -(-loader.batches_per_full_epoch // accelerator.gradient_accumulation_steps)
one_cycle = torch.optim.lr_scheduler.OneCycleLR(
    optimizer, max_lr=0.01, epochs=arguments.epochs, steps_per_epoch=steps
)
scheduler = PrunedScheduler(one_cycle, loader, steps_per_full_epoch=steps)
model, optimizer, loader = prepare(accelerator, model, optimizer, loader)
accelerator.register_for_checkpointing(scheduler)  # `prepare` has registered the pruned dataset

if arguments.folder.exists():
    accelerator.load_state(str(arguments.folder))
    accelerator.print(f"going on at epoch {train.progress:.2f}")

for _ in range(train.epoch, arguments.epochs):
    for batch_images, batch_labels in loader:
        with accelerator.accumulate(model):
            loss = criterion(model(batch_images), batch_labels)
            loss = train.update(loss)
            accelerator.backward(loss)
            optimizer.step()
            if accelerator.sync_gradients:
                scheduler.step()
            optimizer.zero_grad()
    accelerator.save_state(str(arguments.folder))

model.eval()
accuracy = (model(test_images.to(accelerator.device)).argmax(1).cpu() == test_labels).float().mean()
accelerator.print(f"test accuracy {accuracy:.1%}; {train.summary()}")
accelerator.end_training()
