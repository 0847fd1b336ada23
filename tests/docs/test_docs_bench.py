"""docs/bench.md, against the package."""

from __future__ import annotations

import re

from bench_commands import run_command
from repository import ROOT

from dynaprune.bench.regimes import REGIMES
from dynaprune.bench.registry import find_tasks
from dynaprune.bench.results import Results

PAGE = (ROOT / "docs" / "bench.md").read_text()


def test_all_tasks_are_in_the_table():
    table = PAGE.partition("<!-- tasks -->")[2].partition("<!-- /tasks -->")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.strip().splitlines()]
    shown = [
        [
            f"`{task.name}`",
            task.kind,
            task.dataset,
            task.model,
            task.metric + ("" if task.higher_is_better else " ↓"),
            margin_of(task),
        ]
        for task in find_tasks().values()
    ]
    assert rows[2:] == shown
    kinds, datasets = (
        {getattr(t, name) for t in find_tasks().values()} for name in ("kind", "dataset")
    )
    assert f"for {len(shown)} tasks of {len(kinds)} kinds" in (ROOT / "README.md").read_text()
    assert (
        f"{len(shown)} tasks of {len(kinds)} kinds on {len(datasets)} data sets"
        in (ROOT / "CHANGELOG.md").read_text()
    )


def margin_of(task):
    if not task.in_percent:
        return f"{task.margin:g}"
    return f"{100 * task.margin:g} point{'' if task.margin == 0.01 else 's'}"


def test_all_regimes_are_in_the_table():
    shown = re.findall(r"^\| `([a-z-]+)` \| [^|]+ \|$", PAGE, flags=re.MULTILINE)
    assert sorted(shown) == sorted(set(REGIMES) - {"as-is"})


def test_the_task_of_ones_own(tmp_path):
    code = re.search(r"```python\n(.*?)```", PAGE, flags=re.DOTALL).group(1)
    path = tmp_path / "wine.py"
    path.write_text(code)
    result = run_command("bench run {} --budgets 0.3 --seeds 1 --out {}", path, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "left out" not in result.output
    lines = Results(tmp_path / "out").lines
    assert len(lines) == 9
    assert all(line["quality"] > 0.8 for line in lines)
