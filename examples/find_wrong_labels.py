"""Find wrong labels: a fifth of the digits get one, and one training says which.

    python examples/find_wrong_labels.py [--epochs 30] [--folder wrong-labels]

It prints how many of the suspects are wrong, and trains again without them. Writes `suspects.png`,
the most suspicious digits, and `suspects.html`, a page to decide on them. Takes less than a minute
on two cores. Needs `pip install '.[demo]'` in the clone.
"""

import argparse
from pathlib import Path

import torch
from matplotlib import pyplot
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import Subset, TensorDataset

from dynaprune import DataLoader, NoPrune

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--folder", type=Path, default=Path("wrong-labels"))
arguments = parser.parse_args()

torch.set_num_threads(1)  # more threads do not speed up a model this small
images, labels = map(torch.tensor, load_digits(return_X_y=True))
images = images.float().reshape(-1, 1, 8, 8) / 16
right = labels[:1400]
test_images, test_labels = images[1400:], labels[1400:]

# a fifth of the labels become another digit
generator = torch.Generator().manual_seed(0)
is_wrong = torch.rand(1400, generator=generator) < 0.2
moved = torch.randint(1, 10, (1400,), generator=generator)
given = torch.where(is_wrong, (right + moved) % 10, right)
train_set = TensorDataset(images[:1400], given)


def train_on(train: NoPrune) -> float:
    """Train a model, and return its accuracy on the test digits."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 16, 10),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    criterion = nn.CrossEntropyLoss(reduction="none")  # the loss of each sample
    loader = DataLoader(train, batch_size=32)
    for _ in range(arguments.epochs):
        for batch, classes in loader:
            loss = train.update(criterion(model(batch), classes))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return float((model(test_images).argmax(1) == test_labels).float().mean())


train = NoPrune(train_set, arguments.epochs)
train.track_samples()
before = train_on(train)
suspects = train.suspects(int(is_wrong.sum()))
found = is_wrong[suspects].float().mean()
print(f"{found:.0%} of the {len(suspects)} suspects have a wrong label")
arguments.folder.mkdir(parents=True, exist_ok=True)

figure, axes = pyplot.subplots(3, 8, figsize=(9, 4.4), layout="constrained")
for place, index in zip(axes.flat, suspects.tolist(), strict=False):
    place.imshow(images[index, 0], cmap="gray_r")
    place.set(xticks=[], yticks=[])
    verdict, colour = ("wrong", "tab:red") if is_wrong[index] else ("right", "tab:green")
    place.set_title(f'"{given[index]}", {verdict}', color=colour, fontsize=10)
figure.suptitle("The most suspicious labels, and whether they are wrong")
figure.savefig(arguments.folder / "suspects.png", dpi=100)
page = train.review(arguments.folder / "suspects.html", count=100)
print(f"decide on the first 100 of them on {page}")

keep = sorted(set(range(1400)) - set(suspects.tolist()))
after = train_on(NoPrune(Subset(train_set, keep), arguments.epochs))
print(f"accuracy: {before:.1%} with all samples, {after:.1%} without the suspects")
