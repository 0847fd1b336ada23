"""A stream of images in tar shards: skipped images are never decoded.

    python examples/train_stream.py [--epochs 20] [--shards shards]

Writes scikit-learn's digits as PNG files into ten tar shards, unless the folder exists, and trains
on them. Each tar is read sequentially; a member's name is its key.
Needs scikit-learn and Pillow: `pip install '.[demo]'` in the clone.
"""

import argparse
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

from dynaprune import BLS, DataLoader, InfoBatch, PrunedIterableDataset

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--shards", type=Path, default=Path("shards"))
arguments = parser.parse_args()

torch.manual_seed(0)
torch.set_num_threads(1)  # more threads do not speed up a model this small
images, labels = load_digits(return_X_y=True)
images = (images * 15).astype(np.uint8)


def write_shards(folder: Path) -> None:
    """Write each image under a name of its number and label, such as 00017-3.png."""
    folder.mkdir()
    for shard in range(10):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for number in range(140 * shard, 140 * shard + 140):
                content = io.BytesIO()
                Image.fromarray(images[number].reshape(8, 8)).save(content, "PNG")
                member = tarfile.TarInfo(f"{number:05}-{labels[number]}.png")
                member.size = content.tell()
                content.seek(0)
                tar.addfile(member, content)


def read_shards() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the undecoded content of each image."""
    for path in sorted(arguments.shards.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                yield member.name, tar.extractfile(member).read()


def decode(stored: tuple[str, bytes]) -> tuple[Tensor, int]:
    """Return pixels in [0, 1], and the label."""
    name, content = stored
    pixels = torch.tensor(np.asarray(Image.open(io.BytesIO(content))))
    return pixels.flatten().float() / 240, int(Path(name).stem.partition("-")[2])


if not arguments.shards.exists():
    write_shards(arguments.shards)
stream = PrunedIterableDataset(read_shards, key=0, decode=decode, shuffle=1000)
train = BLS(InfoBatch(stream, arguments.epochs)).proxy()
loader = DataLoader(train, batch_size=32, num_workers=2, persistent_workers=True)
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 10))
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)

for _ in range(arguments.epochs):
    for batch_images, batch_labels in loader:
        loss = criterion(model(batch_images), batch_labels)
        loss = train.update(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

model.eval()
test_images = torch.tensor(images[1400:]).float() / 240
accuracy = (model(test_images).argmax(1) == torch.tensor(labels[1400:])).float().mean()
print(f"test accuracy {accuracy:.1%}; {train.summary()}")
