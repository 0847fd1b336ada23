"""timm: its data sets, loader, model and schedule, in the loop of its training script.

    python examples/train_timm.py IMAGES [--epochs 10] [--model test_byobnet] [--size 32]

IMAGES is a folder of images in folders by class: `train/cat/1.jpg`, `test/cat/2.jpg` and so on.
Needs `pip install '.[timm]'` in the clone.
"""

import argparse

import timm
import torch
from timm.data import create_dataset
from timm.scheduler import create_scheduler_v2
from torch.nn.functional import cross_entropy

from dynaprune import BLS, InfoBatch
from dynaprune.integrations.timm import PrunedScheduler, create_loader


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--model", default="test_byobnet")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    epochs, device = arguments.epochs, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options = {"num_workers": arguments.workers, "device": device}
    train_set, test_set = (
        create_dataset("", root=arguments.images, split=split) for split in ("train", "test")
    )
    train = BLS(InfoBatch(train_set, num_epochs=epochs)).proxy()
    loader = create_loader(
        train, arguments.size, arguments.batch_size, is_training=True, scale=(0.6, 1), **options
    )
    test_loader = create_loader(test_set, arguments.size, arguments.batch_size, **options)

    num_classes = len(train_set.reader.class_to_idx)
    model = timm.create_model(arguments.model, num_classes=num_classes).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 0.003)
    updates = loader.batches_per_full_epoch
    scheduler, _ = create_scheduler_v2(
        optimizer, num_epochs=epochs, step_on_epochs=False, updates_per_epoch=updates
    )
    scheduler = PrunedScheduler(scheduler, loader, updates)
    for epoch in range(epochs):
        model.train()
        num_updates = epoch * len(loader)
        for images, labels in loader:
            loss = train.update(cross_entropy(model(images), labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            num_updates += 1
            scheduler.step_update(num_updates=num_updates)
        scheduler.step(epoch + 1)

    model.eval()
    with torch.no_grad():
        hits = [model(images).argmax(1) == labels for images, labels in test_loader]
    print(f"test accuracy {torch.cat(hits).float().mean():.1%}; {train.summary()}")


if __name__ == "__main__":
    main()
