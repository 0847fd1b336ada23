"""Regimes that train on labels of people or of rules, which come with the user's data."""

from __future__ import annotations

import re

import pytest
import torch
from bench_commands import Bright, run_command
from image_folders import write_tree

from dynaprune.bench.regimes import REGIMES
from dynaprune.bench.results import Results
from dynaprune.bench.tasks.cifar10n import PEOPLE, labels_by_people, read_cifar10n

TRUE = torch.tensor([1, 0, 1, 1, 0])
WORSE = torch.tensor([1, 2, 3, 4, 5])


def write_labels(folder, true=TRUE, worse=WORSE):
    folder.mkdir(parents=True, exist_ok=True)
    human = {"clean_label": true, "worse_label": worse}
    human |= {"random_label1": true, "aggre_label": true}
    torch.save({key: each.numpy() for key, each in human.items()}, folder / "CIFAR-10_human.pt")


@pytest.mark.parametrize("where", [".", "cifar10n"])
def test_labels_by_people_are_found_for_images_in_any_order(tmp_path, where):
    write_labels(tmp_path / where)
    assert labels_by_people("worse", TRUE, tmp_path).tolist() == WORSE.tolist()
    by_class = TRUE.sort().values  # samples 1, 4 of class 0, then 0, 2, 3 of class 1
    assert labels_by_people("worse", by_class, tmp_path).tolist() == [2, 5, 1, 3, 4]
    assert labels_by_people("aggre", by_class, tmp_path).tolist() == by_class.tolist()


def test_labels_by_people_need_all_images_and_their_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no labels of CIFAR-10N in .* looked for CIFAR-10"):
        labels_by_people("worse", TRUE, tmp_path)
    write_labels(tmp_path)
    with pytest.raises(
        ValueError, match=r"labels of 5 images with \[2, 3\] .* but 4 images with \[1, 3\]"
    ):
        labels_by_people("worse", TRUE[:4], tmp_path)


def test_the_published_labels(shared_data):
    read = read_cifar10n(shared_data)
    wrong = {name: (read[name] != read["true"]).float().mean().item() for name in PEOPLE}
    # as their authors say
    assert wrong == pytest.approx({"worse": 0.4021, "random1": 0.1723, "aggre": 0.0903}, abs=3e-4)


def test_a_regime_trains_on_other_labels():
    class Ruled(Bright):
        def load(self, root):
            super().load(root)
            labels = self.train.tensors[1]
            self.other_labels = {"rules": lambda: labels.flip(0)}

    task = Ruled()
    task.load(None)
    regime = REGIMES["rule-labels"]
    assert regime.fits(task)
    inputs, labels = regime.samples(task, 0).tensors
    assert torch.equal(inputs, task.train.tensors[0])
    assert torch.equal(labels, task.train.tensors[1].flip(0))
    assert regime.task(task, regime.samples(task, 0)) is task
    assert not REGIMES["human-labels-worse"].fits(task)
    with pytest.raises(ValueError, match="bright has no labels 'worse', only 'rules'; choose"):
        REGIMES["human-labels-worse"].samples(task, 0)


def test_a_task_without_other_labels(bright):
    assert not REGIMES["rule-labels"].fits(bright)
    with pytest.raises(ValueError, match="bright has no labels 'rules', only its own; choose"):
        REGIMES["rule-labels"].samples(bright, 0)


def test_the_command_trains_on_labels_by_people(tmp_path):
    write_tree(tmp_path / "data", per_class=40)
    command = (
        "bench run cifar10-cnn --regime human-labels-worse --data-root {} --out {} --epochs 2 "
        "--methods full --seeds 1"
    )
    missing = run_command(command, tmp_path / "data", tmp_path / "out")
    assert missing.exit_code == 2
    assert "no labels of CIFAR-10N in" in " ".join(missing.output.split())

    true = (torch.arange(80) < 40).long()
    write_labels(tmp_path / "data" / "cifar10n", true, 1 - true)
    result = run_command(command, tmp_path / "data", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (line,) = Results(tmp_path / "out").lines
    # red and blue images, all of them with the label of the other
    assert line["quality"] == 0
    assert run_command("bench report {}", tmp_path / "out").exit_code == 0
    report = (tmp_path / "out" / "report.md").read_text()
    assert re.search(r"Labels by people, the worse of three \(CIFAR-10N\)", report)


def test_the_command_says_which_regimes_fit(tmp_path):
    command = "bench run digits-cnn --regime human-labels-worse --out {}"
    result = run_command(command, tmp_path)
    assert result.exit_code == 2
    assert "digits-cnn has no labels 'worse', only its own" in " ".join(result.output.split())
