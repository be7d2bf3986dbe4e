"""A method in a file of one's own, that of docs/extending.md: flags, table, figure, keys."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from gpu_bench import methods, run
from gpu_bench.methods.base import Method
from gpu_bench.methods.pilot import Pilot
from gpu_bench.report import one_shot
from gpu_bench.run import PROGRAM
from gpu_bench.settings import OneShot
from mirrorflow import results
from mirrorflow.checks import InputError
from mirrorflow.runs.store.closure import closure

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
EXAMPLE = re.search(r"```python\n((?:(?!```).)*class Cube(?:(?!```).)*)```", PAGE.read_text(), re.S)
QUICK = ["--epochs", "1", "--batch-size", "359", "--seeds", "1", "--sparsities", "0.5"]


@pytest.fixture
def cube(tmp_path, monkeypatch):
    """The page's example as a file; forgotten after the test."""
    assert EXAMPLE is not None
    before = dict(methods.METHODS)
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / "cube.py"
    file.write_text(EXAMPLE[1])
    yield file
    methods.METHODS.clear()
    methods.METHODS.update(before)
    sys.modules.pop("cube", None)


def keys(*names, **options):
    given = methods.option_groups()(**options)
    return [one.key for one in OneShot(methods=names, seeds=1, options=given).runs()]


def test_its_options_are_in_the_help(cube, capsys):
    with pytest.raises(SystemExit) as end:
        run.main(["--methods", str(cube), "--help"])
    assert end.value.code in (0, None)
    text = capsys.readouterr().out
    assert "cube options" in text
    assert "--cube.scale FLOAT" in text
    assert "small weights learn faster" in text


def test_it_is_in_the_table_and_in_the_figures_with_its_own_label_and_colour(cube, capsys):
    """Computed in worker processes, which have to find the file too."""
    out = cube.parent / "out"
    words = ["--methods", "dense", str(cube), "--cube.scale", "2", "--jobs", "2"]
    assert run.main([*QUICK, *words, "--out", str(out)]) == 0
    assert re.search(r"│ cubes +│", capsys.readouterr().out)
    frame = results.load(out)
    rows = frame.set_index("method")
    assert rows.loc["cube", "cube.scale"] == 2.0
    assert rows["status"].eq("completed").all()
    figure = one_shot.drawings(frame, results.load_paths(out / "paths.npz"))["accuracy"]
    look = methods.METHODS["cube"].look
    drawn = {line.get_label(): line.get_color() for line in figure.axes[0].lines}
    assert drawn["dense"] == "#000000"
    assert drawn["cubes"] == look.colour


def test_the_page_names_all_that_a_method_may_say():
    """What some method of the package has of its own beside its options."""
    own = {name for kind in methods.METHODS.values() for one in kind.mro() for name in vars(one)}
    said = {name for name in own & vars(Method).keys() if not name.startswith("_")}
    said -= {"name", "label", "begin", "check", "column", "flag", "options", "plan", "seed"}
    page = PAGE.read_text().partition("## A vision method")[2].partition("\n## ")[0]
    assert {name for name in said if not re.search(rf"\b{name}\b", page)} == set()


def test_the_keys_of_the_others_stay(cube):
    before = keys("dense", "pilot")
    own = keys("dense", "pilot", str(cube))
    assert own[:2] == before
    cube.write_text(cube.read_text() + "# changed\n")
    changed = keys("dense", "pilot", "cube")
    assert changed[:2] == before
    assert changed[2] != own[2]
    assert keys("dense", "pilot", pilot=Pilot(beta=2.0))[0] == before[0]
    assert keys("dense", "cube", cube=methods.METHODS["cube"](scale=3.0))[1] != changed[2]


@pytest.mark.parametrize("name", list(methods.METHODS))
@pytest.mark.parametrize("protocol", list(PROGRAM.studies))
def test_a_run_depends_on_the_code_of_its_own_method(name, protocol):
    """Its file and those of the methods that it is built on."""
    kind = methods.METHODS[name]
    found = closure(PROGRAM.study(protocol).module().__name__, kind.__module__)
    files = {module for module in found if module.startswith("gpu_bench.methods.")}
    own = {parent.__module__ for parent in kind.__mro__}
    assert files == {module for module in own if module.startswith("gpu_bench.methods.")}


BROKEN = {
    "1/0": "can't be imported (ZeroDivisionError: division by zero)",
    "": "must hold one method, but it holds 0",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_holds_no_method_is_refused(text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / "no_method.py"
    file.write_text(text)
    assert run.main([*QUICK, "--methods", str(file), "--out", str(tmp_path / "out")]) == 2
    sys.modules.pop("no_method", None)
    assert f"error: {file} {BROKEN[text]}" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(
        InputError, match=r"--methods .*nowhere\.py must be a file, but there is none"
    ):
        methods.find(str(tmp_path / "nowhere.py"))


def test_a_name_is_that_of_one_method(cube, capsys):
    cube.write_text(cube.read_text().replace('name="cube"', 'name="pilot"'))
    with pytest.raises(InputError, match="pilot must be the name of one method, but it is that of"):
        methods.find(str(cube))
