"""The study of fits: derivatives, residuals and references, and how it reads its results."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch


def derivatives_of(values, points):
    """Return first and second derivatives along each axis, by autograd."""
    (first,) = torch.autograd.grad(values.sum(), points, create_graph=True)
    second = [
        torch.autograd.grad(each.sum(), points, retain_graph=True)[0][:, axis]
        for axis, each in enumerate(first.T)
    ]
    return first.T, torch.stack(second)


def test_derivatives_are_those_of_autograd(study):
    networks = study("fits_networks")
    torch.manual_seed(0)
    network, points = networks.tanh_network(2), torch.rand(50, 2, requires_grad=True)
    values, first, second = networks.with_derivatives(network, points)
    by_axis, twice = derivatives_of(network(points), points)
    torch.testing.assert_close(values, network(points).squeeze(1))
    torch.testing.assert_close(first, by_axis)
    torch.testing.assert_close(second, twice, rtol=1e-4, atol=1e-5)


def burgers(u, first, second, target):
    return first[1] + u * first[0] - target.VISCOSITY * second[0]


def helmholtz(u, first, second, target):
    return (second.sum(0) + u - target.source[:64]) / (17 * math.pi**2)


@pytest.mark.parametrize(("name", "equation"), [("Burgers", burgers), ("Helmholtz", helmholtz)])
def test_residuals_are_those_of_the_equation(name, equation, study):
    torch.manual_seed(0)
    target = study("fits_targets").TARGETS[name]()
    network, points = target.network(), target.points[:64].clone().requires_grad_()
    u = target.solution(network(points).squeeze(1), points)
    expected = equation(u, *derivatives_of(u, points), target)
    found = target.residuals(network, torch.arange(64))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_solution_of_helmholtz_has_no_residual(study):
    target = study("fits_targets").TARGETS["Helmholtz"]()
    points = target.points.double().requires_grad_()
    u = target._exact(points)
    _, second = derivatives_of(u, points)
    torch.testing.assert_close(second.sum(0) + u, target.source.double(), rtol=1e-3, atol=1e-3)


def test_the_reference_of_burgers_is_that_of_cole_and_hopf(study):
    viscosity = 0.03 / math.pi
    x, t, values = study("fits_targets").burgers_solution(viscosity, 512, 11)
    nodes, weights = np.polynomial.hermite.hermgauss(200)
    for number in (1, 5, 10):
        from_where = x[:, None] - math.sqrt(4 * viscosity * t[number]) * nodes
        exponents = -np.cos(np.pi * from_where) / (2 * np.pi * viscosity)
        shares = weights * np.exp(exponents - exponents.max(1, keepdims=True))
        exact = -(shares * np.sin(np.pi * from_where)).sum(1) / shares.sum(1)
        assert np.abs(values[number] - exact).max() < 1e-4


def test_ways_make_the_same_number_of_visits(study, monkeypatch):
    fits = study("fits")
    target = study("fits_targets").TARGETS["Friedman"]()
    target.epochs = 3
    monkeypatch.setattr(fits, "target_of", lambda name: target)
    for way in fits.WAYS:
        saved = 0.0 if way == fits.FULL else 0.25
        key = {"target": "Friedman", "way": way, "saved": saved, "seed": 0, "rate": 0.01}
        found = fits.run(key)
        assert found["visits"] == round((1 - saved) * 3 * target.num_points)
        assert found["quality"] > 3  # a constant has 0 dB


def test_visits_of_fewer_epochs_are_interpolated(study, tmp_path):
    fits = study("fits")
    file, seeds = tmp_path / "runs.jsonl", (*fits.SEARCH_SEEDS, *fits.SEEDS)
    shares = {0.0: 30.0, 0.25: 28.0, 0.5: 26.0, 0.75: 20.0}
    rows = [
        {"target": "a", "way": fits.FEWER if saved else fits.FULL, "saved": saved, "seed": seed,
         "rate": rate, "quality": quality - (rate > 0.01)}
        for saved, quality in shares.items() for seed in seeds for rate in (0.01, 0.1)
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs = fits.Runs(file)
    assert fits.best_rate(runs, "a", fits.FEWER) == 0.01
    assert fits.visits_of_fewer_epochs(runs, "a", 26.0) == "0.50"
    # halfway from 0.25 to 0.5 on the scale of logarithms
    assert fits.visits_of_fewer_epochs(runs, "a", 23.0) == f"{0.25 * math.sqrt(2):.2f}"
    assert fits.visits_of_fewer_epochs(runs, "a", 31.0) == "more than 1.00"
    assert fits.visits_of_fewer_epochs(runs, "a", 19.0) == "less than 0.25"


def test_the_best_rate_has_the_best_mean(study, tmp_path):
    fits = study("fits")
    file = tmp_path / "runs.jsonl"
    # neither more runs are better, nor those that diverged
    searched = [(0.01, 100, 5.0), (0.01, 101, 5.0), (0.1, 100, 4.0), (0.1, 101, 4.0)]
    searched += [(0.1, 102, 4.0), (1.0, 100, math.nan)]
    rows = [
        {"target": "a", "way": fits.RANDOM, "seed": seed, "rate": rate, "quality": quality}
        for rate, seed, quality in searched
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert fits.best_rate(fits.Runs(file), "a", fits.RANDOM) == 0.01


def test_tables_of_gains(study, tmp_path):
    fits = study("fits")
    file = tmp_path / "runs.jsonl"
    assert fits.methods(fits.Runs(file)) == fits.summary(fits.Runs(file))  # there are no runs yet

    def rows(way, saved, quality):
        whole = 0.0 if way == fits.FULL else saved
        return [
            {"target": "shape", "way": way, "saved": whole, "seed": seed, "rate": 0.01,
             "quality": quality + (seed == 1) * spread}
            for seed, spread in ((100, 0.0), (0, 0.0), (1, 0.2 if way == "OrderDP" else 0.0))
        ]  # fmt: skip

    runs = [*rows(fits.FULL, 0, 30.0), *rows("OrderDP", 0.5, 24.0), *rows(fits.LOSS, 0.5, 26.0)]
    for saved, random in ((0.5, 25.0), (0.75, 20.0)):
        runs += rows(fits.RANDOM, saved, random) + rows(fits.FEWER, saved, random - 1)
        runs += rows(fits.ROOT, saved, random + 2)
    file.write_text("".join(json.dumps(row) + "\n" for row in runs))
    runs = fits.Runs(file)
    # halfway between 24 dB at a half and 30 dB at all visits, on the scale of logarithms
    row = ["shape", fits.ROOT, "+2.00", "+3.00", "-3.00", f"{math.sqrt(0.5):.2f}"]
    assert [cell.split(" ± ")[0] for cell in cells(fits.summary(runs))] == row
    # Student's t of one degree of freedom, 12.7 · 0.1, is more than the loss of 0.9 dB
    assert cells(fits.methods(runs), "OrderDP") == ["OrderDP", "-0.9"]
    assert cells(fits.methods(runs), fits.FEWER) == [fits.FEWER, "**-1.0**"]
    found = [cell.split(" ± ")[0] for cell in cells(fits.shares(runs))]
    assert found == ["shape", fits.ROOT, "", "", "+2.00", "+3.00", "+2.00", "+3.00"]
    assert fits.EQUAL not in fits.shares(runs)  # it has not run
    assert cells(fits.methods(runs), fits.ROOT) == [fits.ROOT, "**+2.0**"]
    assert fits.methods(runs, 0.75) == fits.NOTHING  # no other method has run with 75%
    assert fits.details(runs).count("###") == 2


@pytest.mark.parametrize(("scale", "expected"), [("doubled", [1.5, 6.0]), ("constant", [1.5, 1.5])])
def test_the_scale_of_the_loss(study, scale, expected):
    # the weights of the second epoch are 8/4, so a doubled loss is four times the first one
    equal = study("fits").InfoBatch(range(8), 2, saving=0.5, weighting="equal")
    train, losses = study("fits_scale").Rescaled(equal, scale), torch.arange(4.0)
    means = [train.update(losses).item() for _ in range(2) for _ in train.batches(4)]
    assert means == expected


def cells(table, first="shape"):
    row = next(line for line in table.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in row[1:-1].split("|")]


def test_the_shape_is_a_signed_distance(study):
    distance = study("fits_fields").hollow_box_on_ring
    points = torch.tensor(
        [[0.75, 0.0, 0.0], [0.75, 0.0, 0.18], [0.0, 0.0, 0.0], [0.0, 0.0, 0.9], [0.4, 0.0, 0.0]]
    )
    # on the axis of the ring, over it, in the hollow, above the box, and in its wall
    expected = [-0.08, 0.1, 0.3, 0.6, -0.1]
    assert distance(points).squeeze(1).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_julia_set_is_smooth_outside_and_symmetric(study):
    julia = study("fits_fields").julia_set
    axis = torch.linspace(-1, 1, 65)
    points = torch.cartesian_prod(axis, axis)
    late = julia(points).squeeze(1)
    assert torch.allclose(late, julia(-points).squeeze(1), atol=1e-3)
    assert 0 <= float(late.min()) < 0.1
    assert float(late.max()) == 1
    # the fraction of a step joins the bands: no jump along an edge of the picture
    edge = julia(torch.stack([torch.linspace(-1, 1, 2001), torch.ones(2001)], dim=1)).squeeze(1)
    assert float(edge.diff().abs().max()) < 0.005
