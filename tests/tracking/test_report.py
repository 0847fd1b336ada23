"""The page of a recorded run."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from helpers import Numbers, bls, set_current
from report_pages import EVIL, Images, Page, train_on
from streams import bls_stream
from typer.testing import CliRunner

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune
from dynaprune.cli.app import app
from dynaprune.methods import StaticPrune
from dynaprune.tracking.recording import read_epochs
from dynaprune.tracking.report.run import RecordedRun

pytestmark = pytest.mark.usefixtures("drawn_here")


def test_a_page_of_images(tmp_path):
    train = BLS(InfoBatch(Images(60), num_epochs=6, saving=0.3)).proxy()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    train.record(tmp_path / "run", optimizer=optimizer)
    train_on(train, 4, optimizer=optimizer)
    path = train.report(tmp_path / "report.html")
    page = Page(path.read_text())
    saved = train.summary().share_saved
    assert f"{saved:.1%}" in page.text
    settings = " ".join(page.text.partition("Settings and versions")[2].split())
    assert "saving 0.3" in settings
    assert "alpha 0.7" in settings
    assert f"torch {torch.__version__}" in settings
    assert f"{train.summary().visits_made:,}" in page.text
    for name in ("visits", "losses", "rates", "scores", "served", "reliability"):
        spec = json.loads(page.scripts[f"{name}-spec"])
        assert "vega-lite" in spec["$schema"]
        assert name in {each.get("id") for each in page.all("div")}
    pictures = page.all("img")
    assert len(pictures) == 3 * 24  # skipped most, served most, and the hardest
    assert all(each["src"].startswith("data:image/png;base64,") for each in pictures)
    # what a class is called is shown, and not run
    assert EVIL in page.text
    assert len(page.all("script")) == 6 + 2
    # nothing is fetched
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            value = attributes.get(name, "")
            assert value.startswith(("data:", "#")) or value == "", (tag, value)


def test_numbers_of_a_run(tmp_path):
    train = BLS(InfoBatch(Images(50), num_epochs=5, saving=0.4)).proxy()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    train.record(tmp_path, optimizer=optimizer)
    train_on(train, 5, optimizer=optimizer)
    run = RecordedRun.read(tmp_path)
    summary = train.summary()
    assert run.visits_made == summary.visits_made == sum(run.samples.visits)
    assert run.visits_avoided == summary.visits_avoided
    assert run.share_saved == pytest.approx(summary.share_saved)
    assert run.seconds == pytest.approx(summary.seconds)
    assert np.array_equal(run.samples.scores, train.scores.numpy())
    assert run.samples.epochs == 5
    rates = [rate for epoch in run.epochs for rate in epoch.curve_rates]
    assert rates == [0.5**step for step in range(len(rates))]
    for epoch in run.epochs:
        assert epoch.curve_visits[-1] == epoch.visits == epoch.kept
    assert run.epochs[-1].quantiles[0] == pytest.approx(float(train.scores.min()))
    assert run.epochs[-1].quantiles[5] == pytest.approx(float(train.scores.median()), rel=0.1)
    assert run.epochs[-1].reliability == pytest.approx(train.reliability)


def test_a_curve_has_few_points_and_all_losses(tmp_path):
    train = NoPrune(Numbers(1000), num_epochs=1)
    train.record(tmp_path)
    train.begin_epoch()
    for number in range(1000):
        set_current(train, [number], torch.tensor(float("nan") if number == 5 else float(number)))
    train.end_epoch()
    (epoch,) = read_epochs(tmp_path)
    assert epoch.losses_left_out == 1
    assert epoch.curve_visits == list(range(10, 1001, 10))
    assert epoch.curve_losses[0] == pytest.approx(40 / 9)  # 0 to 9 without 5
    assert epoch.curve_losses[1:] == [10 * point + 4.5 for point in range(1, 100)]
    assert epoch.mean_loss == pytest.approx((499_500 - 5) / 999)
    assert np.isnan(epoch.reliability)


def test_visits_are_counted_through_checkpoints(tmp_path):
    def make():
        return StaticPrune(Images(40), num_epochs=6, saving=0.5)

    whole, first = make(), make()
    whole.record(tmp_path / "whole")
    train_on(whole, 6)
    first.record(tmp_path / "parts")
    train_on(first, 3)
    state = first.state_dict()
    train_on(first, 2)  # what is lost when the job is killed
    for order in ("record first", "load first"):
        second = make()
        if order == "load first":
            second.load_state_dict(state)
        second.record(tmp_path / "parts")
        if order == "record first":
            second.load_state_dict(state)
        train_on(second, 3)
        one, other = (RecordedRun.read(tmp_path / name) for name in ("whole", "parts"))
        assert np.array_equal(one.samples.visits, other.samples.visits)
        assert set(one.samples.visits) == {0, 6}
        assert one.samples.epochs == other.samples.epochs == 6


def test_a_run_that_was_not_recorded_before(tmp_path):
    plain = bls(NoPrune, 40)
    loader = DataLoader(plain, batch_size=8)
    for batch in loader:
        plain.update(batch.float().mean())
    train = bls(NoPrune, 40)
    train.record(tmp_path)
    train.load_state_dict(plain.state_dict())
    for _ in range(2):
        for batch in DataLoader(train, batch_size=8):
            train.update(batch.float().mean())
    samples = RecordedRun.read(tmp_path).samples
    assert samples.epochs == 2
    assert set(samples.visits) == {2}


def test_recording_that_begins_in_the_middle_of_an_epoch(tmp_path):
    train = bls(NoPrune, 40)
    for step, batch in enumerate(DataLoader(train, batch_size=8)):
        train.update(batch.float().mean())
        if step == 2:
            assert len(train.scores) == 40  # folded, without counting
            train.record(tmp_path)
    assert set(RecordedRun.read(tmp_path).samples.visits) == {1}


def test_a_line_that_was_cut_is_written_again(tmp_path):
    train = bls(NoPrune, 40)
    train.record(tmp_path)
    train_on(train, 2, lambda batch: batch.float().mean())
    state = train.state_dict()
    with (tmp_path / "epochs.jsonl").open("a") as file:
        file.write('{"number": 2, "num_sam')  # a process that was killed
    assert len(read_epochs(tmp_path)) == 2
    again = bls(NoPrune, 40)
    again.record(tmp_path)
    again.load_state_dict(state)
    train_on(again, 2, lambda batch: batch.float().mean())
    assert [epoch.number for epoch in read_epochs(tmp_path)] == [0, 1, 2, 3]
    lines = (tmp_path / "epochs.jsonl").read_text().splitlines()
    (tmp_path / "epochs.jsonl").write_text("\n".join([lines[0], "{}", *lines[2:]]))
    with pytest.raises(RuntimeError, match="line 2 of .*epochs.jsonl is damaged"):
        read_epochs(tmp_path)


def test_losses_of_old_epochs_make_room(tmp_path):
    train = NoPrune(Numbers(5000), num_epochs=8)
    train.record(tmp_path, max_megabytes=0.07)  # 5,000 losses and indices are 0.04
    for _ in range(8):
        for batch in DataLoader(train, batch_size=100):
            train.update(batch.float())
    assert sorted(path.name for path in tmp_path.glob("epoch-*.npz")) == ["epoch-00007.npz"]
    assert len(read_epochs(tmp_path)) == 8


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-1, ValueError), ("1", TypeError)])
def test_a_limit_that_is_none(tmp_path, limit, error):
    with pytest.raises(error, match="max_megabytes must be"):
        bls(NoPrune, 4).record(tmp_path, max_megabytes=limit)


def test_an_optimizer_that_is_none(tmp_path):
    with pytest.raises(
        TypeError, match="optimizer must be a torch optimizer, but a float was given"
    ):
        bls(NoPrune, 4).record(tmp_path, optimizer=0.1)


def test_a_class_that_is_starved_is_marked(tmp_path):
    class Rare(StaticPrune):
        def select(self, scores, epoch, generator):
            from dynaprune import Selection

            served = torch.arange(len(scores)) % 3 > 0  # of class 1 none
            return Selection(served.nonzero().flatten())

    train = Rare(Images(60), num_epochs=2)
    train.record(tmp_path)
    train_on(train, 2)
    text = " ".join(Page(train.report(tmp_path / "r.html").read_text()).text.split())
    assert f"{EVIL} 20 0.0%" in text
    assert text.count("served rarely") == 1
    assert "20 of 60 samples were never served" in text
    # labels of one's own
    text = Page(train.report(tmp_path / "r.html", labels=np.arange(60) % 3 == 1).read_text()).text
    assert "False" in text
    with pytest.raises(ValueError, match=r"labels must be one per sample, shape \(60,\)"):
        train.report(tmp_path / "r.html", labels=[1, 2])


def test_nothing_to_report(tmp_path):
    train = bls(NoPrune, 10)
    with pytest.raises(RuntimeError, match=r"call train.record\(directory\) before the first"):
        train.report(tmp_path / "report.html")
    train.record(tmp_path)
    with pytest.raises(RuntimeError, match="but no epoch has ended yet"):
        train.report(tmp_path / "report.html")


def test_a_stream(tmp_path):
    train = bls_stream(InfoBatch, 40)
    train.record(tmp_path)
    train_on(train, 3, lambda batch: batch.float().mean())
    text = Page(train.report(tmp_path / "report.html").read_text()).text
    assert "40 samples" in text
    assert "Skipped most" not in text


def test_a_million_samples_are_a_small_page(tmp_path):
    train = BLS(InfoBatch(range(1_000_000), num_epochs=3, saving=0.3)).proxy()
    train.record(tmp_path)
    for _ in range(3):
        share = train.begin_epoch()
        for part in share.order.split(20_000):
            train.update(part.float().mean() / 1e6, indices=part)
        train.end_epoch()
    path = train.report(tmp_path / "report.html", labels=np.arange(1_000_000) % 1000)
    assert path.stat().st_size < 5e6
    assert (tmp_path / "epochs.jsonl").stat().st_size < 3 * 20_000


def test_the_command(tmp_path):
    train = BLS(InfoBatch(Images(60), num_epochs=2, saving=0.3)).proxy()
    train.record(tmp_path / "run")
    train_on(train, 2)
    file = tmp_path / "data.py"
    file.write_text(
        "from report_pages import Images\n"
        "def make(): return Images(60)\n"
        "def other(): return Images(50)\n"
        "def nothing(): return None\n"
        "def broken(): raise KeyError('mine')\n"
    )
    out = tmp_path / "page.html"

    def run(*more):
        return CliRunner().invoke(app, ["report", str(tmp_path / "run"), "--out", str(out), *more])

    assert run().exit_code == 0
    assert "Skipped most" not in out.read_text()
    assert run("--data", f"{file}:make").exit_code == 0
    assert "Skipped most" in out.read_text()
    wrong = {
        "other": "dataset must be the one that was trained on, with 60 samples, but it has 50",
        "nothing": "must return the dataset that was trained on",
        "missing": "has no function missing",
    }
    for name, message in wrong.items():
        result = run("--data", f"{file}:{name}")
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())
    assert isinstance(run("--data", f"{file}:broken").exception, KeyError)
    result = CliRunner().invoke(app, ["report", str(tmp_path / "nowhere")])
    assert result.exit_code == 2
    assert re.search("there is no recording", result.output)


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    import sys

    train = NoPrune(Images(20), num_epochs=1)
    train.record(tmp_path)
    train_on(train, 1)
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(ImportError, match=r"altair.*\[report\]"):
        train.report(tmp_path / "report.html")


def test_a_report_changes_nothing(tmp_path):
    class Noisy(Numbers):
        def __getitem__(self, index):
            return torch.rand(3, 8, 8), torch.tensor(index)

    train = BLS(NoPrune(Noisy(30), 3)).proxy()
    train.record(tmp_path)
    train_on(train, 1, lambda batch: batch[1].float().mean())
    before = torch.get_rng_state()
    train.report(tmp_path / "report.html")
    assert torch.equal(before, torch.get_rng_state())


def test_samples_with_losses_that_are_not_finite_were_served(tmp_path):
    train = bls(NoPrune, 20)
    train.record(tmp_path)
    train_on(train, 2, lambda batch: torch.tensor(float("nan")))
    assert set(RecordedRun.read(tmp_path).samples.visits) == {2}


def test_learning_rates_of_an_epoch_that_was_resumed(tmp_path):
    def make():
        train, optimizer = bls(NoPrune, 100), torch.optim.SGD([torch.zeros(1)], lr=0.0)
        train.record(tmp_path, optimizer=optimizer)
        return train, optimizer

    train, optimizer = make()
    for step, batch in enumerate(DataLoader(train, batch_size=10)):
        optimizer.param_groups[0]["lr"] = float(step)
        train.update(batch.float().mean())
        if step == 4:
            state = train.state_dict()
        if step == 7:
            break
    train, optimizer = make()
    train.load_state_dict(state)
    for step, batch in enumerate(DataLoader(train, batch_size=10), start=5):
        optimizer.param_groups[0]["lr"] = float(step)
        train.update(batch.float().mean())
    (epoch,) = read_epochs(tmp_path)
    assert np.isnan(epoch.curve_rates[:5]).all()
    assert epoch.curve_rates[5:] == [5, 6, 7, 8, 9]


def test_a_write_that_failed_is_made_again(tmp_path, monkeypatch):
    from dynaprune.tracking.recording import recorder

    train = bls(NoPrune, 40)
    train.record(tmp_path)
    train_on(train, 1, lambda batch: batch.float().mean())
    pack = recorder._samples
    monkeypatch.setattr(recorder, "_samples", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="epoch 1 cannot be recorded"):
        train_on(train, 1, lambda batch: batch.float().mean())
    monkeypatch.setattr(recorder, "_samples", pack)
    train_on(train, 2, lambda batch: batch.float().mean())
    numbers = [epoch.number for epoch in read_epochs(tmp_path)]
    assert numbers == sorted(set(numbers))
    assert sum(epoch.visits for epoch in read_epochs(tmp_path)) == train.summary().visits_made


def test_where_a_page_cannot_be(tmp_path):
    train = bls(NoPrune, 10)
    train.record(tmp_path)
    train_on(train, 1, lambda batch: batch.float().mean())
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere for r.html"):
        train.report(tmp_path / "nowhere" / "r.html")
    with pytest.raises(IsADirectoryError, match="is a folder: give the path of the page"):
        train.report(tmp_path)
    again = bls(NoPrune, 10)
    again.record(tmp_path)
    with pytest.raises(RuntimeError, match="no epoch has ended yet"):
        again.report(tmp_path / "r.html")
