"""The page of a real run, in a browser."""

from __future__ import annotations

import zlib

import pytest
import torch
from browsers import opened
from torch.utils.data import TensorDataset

from dynaprune import BLS, DataLoader, InfoBatch
from dynaprune.bench.registry import find_task
from dynaprune.tracking.recording import read_epochs

pytestmark = pytest.mark.long

EVIL = "<script>window.harmed = true</script><b>bird</b>"
CLASSES = ("airplane", "automobile", EVIL, "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CHARTS = ("visits", "losses", "rates", "scores", "served", "reliability")


class Named(TensorDataset):
    classes = CLASSES


class Sentences(torch.utils.data.Dataset):
    """Sentences as words, with their labels."""

    classes = ("bad", "good")

    def __init__(self, root, count):
        lines = (root / "sst2" / "train.tsv").read_text("utf-8").splitlines()[:count]
        self.pairs = [line.rsplit("\t", 1) for line in lines]
        self.targets = [int(label) for _, label in self.pairs]
        self.pairs[0][0] = f"{EVIL} {self.pairs[0][0]}"

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        return self.pairs[index][0], self.targets[index]


def report_of_cifar(root, folder):
    torch.set_num_threads(1)
    task = find_task("cifar10-depthwise")()
    task.load(root)
    inputs, labels = (part[:600] for part in task.train.tensors)
    train = BLS(InfoBatch(Named(inputs, labels), num_epochs=4, saving=0.3)).proxy()
    model = task.make_model()
    optimizer = task.recipe.make_optimizer(model)
    train.record(folder / "run", optimizer=optimizer)
    for _ in range(4):
        for batch in DataLoader(train, batch_size=32, sampler=train.sampler):
            task.recipe.set_rates(optimizer, train.progress / 4)
            loss = train.update(task.loss(task.outputs(model, batch), batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return train.report(folder / "cifar10.html")


def words_of(texts):
    """Return numbers of words, and where each text begins among them."""
    words = [[zlib.crc32(word.encode()) % 4096 for word in text.split()] for text in texts]
    lengths = torch.tensor([0, *map(len, words)])
    return torch.tensor([number for text in words for number in text]), lengths.cumsum(0)[:-1]


def report_of_sentences(root, folder):
    torch.manual_seed(0)
    data = Sentences(root, 1000)
    train = BLS(InfoBatch(data, num_epochs=5, saving=0.3)).proxy()
    bag, head = torch.nn.EmbeddingBag(4096, 16), torch.nn.Linear(16, 2)
    optimizer = torch.optim.Adam([*bag.parameters(), *head.parameters()], lr=0.01)
    train.record(folder / "run", optimizer=optimizer)
    for _ in range(5):
        for texts, labels in DataLoader(train, batch_size=20, sampler=train.sampler):
            logits = head(bag(*words_of(texts)))
            loss = train.update(torch.nn.functional.cross_entropy(logits, labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    first, *_, last = read_epochs(folder / "run")
    assert last.mean_loss < first.mean_loss  # it learns
    return train.report(folder / "sst2.html")


def test_a_run_on_cifar10(browser, shared_data, tmp_path):
    path = report_of_cifar(shared_data, tmp_path)
    with opened(browser, path) as page:
        for name in CHARTS:
            assert page.locator(f"#{name} svg .mark-group").count() > 0, name
            assert page.locator(f"#{name} svg path").count() > 0, name
        widths = page.eval_on_selector_all(".samples img", "all => all.map(i => i.naturalWidth)")
        assert len(widths) == 3 * 24  # skipped most, served most, and the hardest
        assert min(widths) == 96
        assert page.evaluate("window.harmed") is None
        assert page.get_by_text(EVIL).count() > 0  # shown as text
        assert page.locator("b").count() == 0
        page.screenshot(path=tmp_path / "light.png", full_page=True)


def test_dark_and_on_a_phone(browser, shared_data, tmp_path):
    path = report_of_sentences(shared_data, tmp_path)
    phone = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}
    with opened(browser, path, **phone) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == "rgb(18, 22, 29)"
        titles = page.locator("#scores svg .role-axis-title text").first
        assert titles.evaluate("e => getComputedStyle(e).fill") == "rgb(231, 234, 240)"
        page.emulate_media(color_scheme="light")  # drawn anew
        page.wait_for_function(
            "getComputedStyle(document.querySelector('#scores svg .role-axis-title text')).fill"
            " === 'rgb(29, 35, 48)'"
        )
        assert page.locator("blockquote").count() == 3 * 24
        assert page.evaluate("window.harmed") is None


def test_with_the_keyboard(browser, shared_data, tmp_path):
    path = report_of_sentences(shared_data, tmp_path)
    with opened(browser, path) as page:
        reached = []
        for _ in range(16):
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate("document.activeElement.id || document.activeElement.tagName")
            )
        assert reached[0] == "A"  # past the head
        assert [name for name in reached if name in CHARTS] == list(CHARTS)
        assert "SUMMARY" in reached
        page.locator("#visits ~ details summary").focus()
        page.keyboard.press("Enter")
        assert page.locator("#visits ~ details table").is_visible()
        for name in reached:
            if name in CHARTS:
                about = page.locator(f"#{name}").get_attribute("aria-describedby")
                assert len(page.locator(f"#{about}").inner_text()) > 40
