"""The pictures of docs/report.md and docs/wrong-labels.md: a report and a page of suspects.

    python benchmarks/studies/page_pictures.py --root DATA

It trains a small network twice on CIFAR-10 with labels by people (CIFAR-10N), a minute in all,
writes both pages to runs/pages, and takes the pictures in Chromium, by Playwright.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from playwright.sync_api import Browser, Page, sync_playwright
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from dynaprune import InfoBatch, NoPrune, PrunedDataset, PrunedScheduler
from dynaprune.bench.tasks.cifar10n import labels_by_people
from dynaprune.bench.tasks.image_sets import load_images

sys.path.append(str(Path(__file__).parents[1]))  # the zoo is beside this folder
from zoo.models.depthwise import DepthwiseCNN

PICTURES = Path(__file__).parents[2] / "docs" / "images"
PAGES = Path("runs/pages")
CLASSES = ["airplane", "automobile", "bird", "cat", "deer"]
CLASSES += ["dog", "frog", "horse", "ship", "truck"]
SAMPLES = 6000
EPOCHS = 12
BATCH_SIZE = 64
DECIDED = 4


class CIFAR10N(TensorDataset):
    """Images, uint8, and the labels that people gave to them."""

    classes = CLASSES

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        super().__init__(images, labels)
        self.targets = labels


def fit(train: PrunedDataset, dataset: CIFAR10N, recording: Path) -> None:
    """Train with the losses of single samples, and record it."""
    torch.manual_seed(0)
    images, labels = dataset.tensors[0].float() / 127.5 - 1, dataset.targets
    model = DepthwiseCNN(3, len(CLASSES), stages=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    train.record(recording, optimizer=optimizer, overwrite=True)
    train.track_samples()
    steps = -(-SAMPLES // BATCH_SIZE)
    one_cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.01, epochs=EPOCHS, steps_per_epoch=steps
    )
    scheduler = PrunedScheduler(one_cycle, train, steps_per_full_epoch=steps)
    for _ in range(EPOCHS):
        for indices in train.batches(BATCH_SIZE):
            optimizer.zero_grad()
            losses = cross_entropy(model(images[indices]), labels[indices], reduction="none")
            train.update(losses).backward()
            optimizer.step()
            scheduler.step()


@contextmanager
def opened(
    browser: Browser, path: Path, scheme: Literal["light", "dark"], width: int, height: int
) -> Iterator[Page]:
    """Open a page in a window of this size, and wait until it is drawn."""
    is_phone = width < 400
    context = browser.new_context(
        color_scheme=scheme,
        viewport={"width": width, "height": height},
        device_scale_factor=2 if is_phone else 1,
        has_touch=is_phone,
        is_mobile=is_phone,
    )
    page = context.new_page()
    page.goto(path.resolve().as_uri())
    page.wait_for_selector("body[data-drawn=yes]")
    yield page
    context.close()


def show_report(browser: Browser, path: Path) -> None:
    """Take the pictures of the report: its findings and first figures, and its samples."""
    with opened(browser, path, "dark", 760, 1500) as page:
        bottom = page.get_by_role("heading", name="Learning rate").evaluate(
            "heading => heading.closest('section').getBoundingClientRect().top"
        )
        page.screenshot(
            path=PICTURES / "report-figures.png",
            clip={"x": 0, "y": 0, "width": 760, "height": bottom},
        )
    with opened(browser, path, "light", 800, 760) as page:
        page.get_by_role("heading", name="Skipped most").evaluate(
            "heading => window.scrollTo(0, heading.getBoundingClientRect().top + scrollY - 12)"
        )
        page.screenshot(path=PICTURES / "report-samples.png")


def show_review(browser: Browser, path: Path, true: torch.Tensor) -> None:
    """Take the pictures of the page of suspects, with the first ones decided."""
    for name, width, height in (("light", 1120, 890), ("phone", 375, 740)):
        with opened(browser, path, "light", width, height) as page:
            for _ in range(DECIDED):
                (index,) = re.findall(r"index (\d+)", page.inner_text("main"))[:1]
                page.keyboard.press(str((int(true[int(index)]) + 1) % 10))
            page.screenshot(path=PICTURES / f"review-{name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder with the data sets")
    root = parser.parse_args().root
    images, true = load_images("cifar10", root).train.tensors
    chosen = torch.randperm(len(true), generator=torch.Generator().manual_seed(0))[:SAMPLES]
    dataset = CIFAR10N(images[chosen], labels_by_people("random1", true, root)[chosen])
    PAGES.mkdir(parents=True, exist_ok=True)

    pruned = InfoBatch(dataset, EPOCHS, saving=0.3)
    fit(pruned, dataset, PAGES / "pruned")
    pruned.report(PAGES / "report.html")
    full = NoPrune(dataset, EPOCHS)
    fit(full, dataset, PAGES / "full")
    full.review(PAGES / "suspects.html", count=60)

    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        show_report(browser, PAGES / "report.html")
        show_review(browser, PAGES / "suspects.html", true[chosen])
        browser.close()


if __name__ == "__main__":
    main()
