"""The search for recipes of full length, and the evidence with them."""

from __future__ import annotations

import math

import pytest
from bench_commands import TASK_FILE

from dynaprune.bench import Recipe
from dynaprune.bench.registry import find_task
from dynaprune.bench.results import Results

BRIEF = Recipe(epochs=6, batch_size=8, learning_rate=0.05)


@pytest.fixture
def search(evidence, tmp_path):
    """Return what searches, where a function of a recipe and a seed says what a run comes to."""
    path = tmp_path / "mine.py"
    path.write_text(TASK_FILE)
    task = find_task(str(path))()
    made = []

    def search(error_of, noise=0.0, seconds=1.0, stop_after=math.inf):
        def train(task, recipe, seed):
            if len(made) >= stop_after:
                raise KeyboardInterrupt
            made.append((recipe.epochs, recipe.learning_rate, seed))
            error = error_of(recipe, seed)
            found = {"quality": error, "visits": 1, "full_visits": 1, "seconds": 1.0}
            return {**found, "about": {}, "cpu_seconds": seconds * recipe.epochs / BRIEF.epochs}

        search = evidence("length_search").LengthSearch(task, Results(tmp_path), noise, train)
        return search.run()

    search.made = made
    return search


def test_epochs_are_doubled_until_that_gains_less_than_half_of_the_margin(search):
    found = search(lambda recipe, seed: 0.21 / recipe.epochs)
    assert found.recipe == BRIEF.with_length(48, 0.05)
    assert [step.gain for step in found.steps] == pytest.approx([1.75, 0.875, 0.4375])
    assert found.saturates
    assert found.is_sure
    assert [epochs for epochs, _, _ in search.made] == [6, 12, 24, 48, 48, 48, 48, 48, 48]


def test_the_length_that_gains_nothing_more_is_the_full_one(search):
    found = search(lambda recipe, seed: max(0.1, 0.3 - 0.01 * recipe.epochs))
    assert [step.recipe.epochs for step in found.steps] == [12, 24, 48]
    assert found.recipe.epochs == 48


def test_a_task_that_never_saturates_gets_sixteen_times_the_epochs(search):
    found = search(lambda recipe, seed: -recipe.epochs)
    assert found.recipe.epochs == 16 * 6
    assert not found.saturates


def test_a_model_that_overfits_is_not_trained_for_longer(search):
    found = search(lambda recipe, seed: 0.01 * recipe.epochs)
    assert found.recipe == BRIEF
    assert found.saturates


def test_a_run_takes_ten_minutes_at_most(search):
    found = search(lambda recipe, seed: -recipe.epochs, seconds=200)
    assert found.recipe.epochs == 12
    assert found.seconds == 400
    assert not found.saturates


def test_a_run_that_diverges_is_no_recipe(search):
    found = search(lambda recipe, seed: math.nan if recipe.learning_rate > 0.05 else 0.5)
    assert found.recipe.learning_rate == 0.05


def test_at_the_best_of_three_rates_the_last_doubling_is_tried_again(search):
    def error_of(recipe, seed):
        if recipe.learning_rate < 0.1:
            return 0.5
        return {6: 0.9, 12: 0.3, 24: 0.1, 48: 0.1}[recipe.epochs]

    found = search(error_of)
    assert found.recipe == BRIEF.with_length(48, 0.1)
    assert [(step.recipe.epochs, step.recipe.learning_rate) for step in found.steps] == [
        (12, 0.05),
        (12, 0.1),
        (24, 0.1),
        (48, 0.1),
    ]


def test_what_the_noise_hides_gets_more_seeds(search, evidence):
    found = search(lambda recipe, seed: 0.3 if recipe.epochs == 6 else 0.294, noise=0.01)
    seeds = evidence("length_search").SEEDS
    assert [seed for epochs, rate, seed in search.made if (epochs, rate) == (12, 0.05)] == list(
        seeds
    )
    assert set(seeds).isdisjoint(range(5))  # those of the evidence
    assert found.steps[0].error == pytest.approx(math.sqrt(2 / 4))
    assert not found.is_sure


def test_a_search_that_was_stopped_goes_on(search):
    def error_of(recipe, seed):
        return 0.21 / recipe.epochs

    with pytest.raises(KeyboardInterrupt):
        search(error_of, stop_after=4)
    assert search(error_of).recipe.epochs == 48
    assert len(search.made) == len(set(search.made)) == 9


@pytest.fixture
def toy(evidence, tmp_path):
    """Return what makes the searches and the evidence of a task that takes no time."""
    path = tmp_path / "mine.py"
    path.write_text(TASK_FILE.replace("epochs=6, batch_size=8", "epochs=1, batch_size=32"))
    tasks = {"mine": find_task(str(path))}

    def make():
        return evidence("full_length").FullLength(None, tmp_path, tasks, {"mine": (0.1, 1e-4)}, 2)

    return make


def test_all_of_it_needs_nobody_and_goes_on(toy, evidence, tmp_path, capsys):
    toy().run()
    found = toy().found("mine")
    assert evidence("full_length").described(found) in capsys.readouterr().out
    lines = Results(tmp_path / "bench-full").lines
    assert {line["seed"] for line in lines} == {0, 1}
    assert {line["recipe"]["epochs"] for line in lines} == {found.recipe.epochs}
    # two seeds show nothing to be lossless: all variants get the smaller budget, too
    assert {line["budget"] for line in lines} == {0.0, 0.2, 0.3, 0.5}
    toy().run()
    assert len(Results(tmp_path / "bench-full").lines) == len(lines)


def test_variants_that_choose_alike_are_run_once(toy, tmp_path):
    toy().run()
    lines = Results(tmp_path / "bench-full").lines
    made = {(line["variant"], line["budget"], line["seed"]): line for line in lines}
    for (variant, budget, seed), line in made.items():
        # the task has no losses of single samples, so InfoBatch on these is not in the plan
        is_copy = variant == "slices-infobatch" and budget == 0.5
        assert line.get("copied_from") == ("bls-infobatch" if is_copy else None)
        if is_copy:
            assert line["quality"] == made["bls-infobatch", budget, seed]["quality"]
    assert ("slices-infobatch", 0.5, 1) in made


def test_a_recipe_is_written_into_the_file_of_its_task(evidence):
    with_recipe = evidence("recipe_writer").with_recipe
    once = with_recipe(TASK_FILE, "Mine", BRIEF.with_length(48, 0.1))
    line = "    full_recipe = recipe.with_length(epochs=48, learning_rate=0.1)\n"
    own = "    recipe = Recipe(epochs=6, batch_size=8, learning_rate=0.05)\n"
    assert once == TASK_FILE.replace(own, own + line)
    twice = with_recipe(once, "Mine", BRIEF.with_length(96, 0.025))
    assert twice == once.replace("48, learning_rate=0.1", "96, learning_rate=0.025")


def test_the_recipes_in_the_task_files_are_those_that_were_found(evidence):
    searches = evidence("full_length").FullLength.kept()
    assert {name: each.recipe for name, each in searches.recipes().items()} == {
        name: task.full_recipe for name, task in searches.tasks.items() if task.full_recipe
    }
