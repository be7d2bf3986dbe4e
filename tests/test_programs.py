"""Programs: studies register themselves from one file each, listed without being imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mirrorflow import InputError, results
from mirrorflow.runs.cli import Program, command

ROOT = Path(__file__).parents[1]
STUDY = '''
from dataclasses import dataclass
from pathlib import Path

from mirrorflow.results import Run
from mirrorflow.runs.study import Study, Verdict


def compute(specs):
    return [({"square": spec["number"] ** 2}, {}) for spec in specs]


@dataclass(frozen=True)
class Squares(Study, name="NAME", about="squares of numbers"):
    """Squares of the first numbers."""

    out: Path = Path("results/squares")
    count: int = 3
    """How many."""

    title = "Squares"
    compute = staticmethod(compute)

    def runs(self):
        return [Run({"number": number}, self.digest()) for number in range(self.count)]

    def verdicts(self, frame):
        return [Verdict("squares grow", len(frame), 0.0, 1.0, "confirmed")]

    def figures(self, frame, paths):
        (self.out / "squares.txt").write_text(str(frame["square"].tolist()))
        return [self.out / "squares.txt"]
'''


def program(folder: Path, monkeypatch, **files: str) -> Program:
    """A program whose package holds these files."""
    package = f"toys_{abs(hash(folder))}"
    (folder / package).mkdir()
    (folder / package / "__init__.py").touch()
    for name, text in files.items():
        (folder / package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return Program("toys", "TOY", package, "one", (), {})


def test_a_study_in_one_file_of_ones_own_and_processes(tmp_path):
    """In --help, the table, the rows, the figures; computed by other processes."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/toy.py").write_text(STUDY)

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "mirrorflow.sweep", "mine/toy.py", *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    assert "Squares of the first numbers." in run("--help")
    said = run("--count", "4", "--jobs", "2")
    assert "squares grow" in said
    assert "4 runs in results/squares/: rows.parquet" in said
    assert "squares.txt" in said
    assert results.load(tmp_path / "results/squares")["square"].tolist() == [0, 1, 4, 9]


def test_studies_are_listed_without_being_imported(tmp_path, monkeypatch):
    toys = program(tmp_path, monkeypatch, two=STUDY.replace("NAME", "two"), one="class A: pass")
    assert toys.studies == {"two": "squares of numbers"}
    assert not [name for name in sys.modules if name.startswith(toys.package + ".")]
    assert toys.study("two").__name__ == "Squares"


def test_the_study_where_none_is_named_comes_first(tmp_path, monkeypatch):
    files = {name: STUDY.replace("NAME", name) for name in ("any", "one", "two")}
    assert list(program(tmp_path, monkeypatch, **files).studies) == ["one", "any", "two"]


@pytest.mark.parametrize("fault", ["1 / 0", "import of_nothing", "def"])
def test_a_file_that_cannot_be_imported_is_named_and_spares_the_others(
    tmp_path, monkeypatch, capsys, fault
):
    broken = STUDY.replace("NAME", "broken") + fault + "\n"
    toys = program(tmp_path, monkeypatch, broken=broken, one=STUDY.replace("NAME", "one"))
    assert set(toys.studies) == {"one", "broken"}
    main = command(toys.main)
    assert main(["broken"]) == 2
    error = capsys.readouterr().err
    assert f"{toys.package}.broken can't be imported (" in error
    assert "broken.py" in error
    assert error.rstrip(").\n").endswith(f"line {broken.count(chr(10))}")
    assert main(["one", "--jobs", "1", "--out", str(tmp_path / "out")]) == 0
    completed = str(toys.parser())
    assert "name='one'" in completed
    assert "name='broken'" not in completed


def test_two_studies_of_one_name_are_refused(tmp_path, monkeypatch):
    toys = program(
        tmp_path, monkeypatch, a=STUDY.replace("NAME", "one"), b=STUDY.replace("NAME", "one")
    )
    with pytest.raises(InputError, match=r"one must be the name of one study.*\.a and .*\.b\."):
        toys.studies


def test_what_a_program_needs_is_named_before_its_studies_are_imported(tmp_path):
    (tmp_path / "own.py").write_text(STUDY.replace("NAME", "own"))
    lacking = Program("toys", "TOY", "mirrorflow.sweep", "theorem23", ("no_such_package",), {})
    with pytest.raises(ImportError, match="toys needs no_such_package, not installed here"):
        lacking.study(str(tmp_path / "own.py"))


def test_a_file_without_a_study_is_refused(tmp_path, monkeypatch):
    toys = program(tmp_path, monkeypatch)
    (tmp_path / "empty.py").touch()
    with pytest.raises(InputError, match="must hold one study, but it holds 0"):
        toys.study(str(tmp_path / "empty.py"))
    with pytest.raises(InputError, match=r"none\.py can't be used"):
        toys.study(str(tmp_path / "none.py"))


@pytest.mark.parametrize(
    ("file", "name", "message"),
    [
        (
            "own.py",
            "1 + x",
            r"own\.py must have name and about of class Squares as plain text, but",
        ),
        ("my-own.py", "'own'", r"my-own\.py must have a name that Python can import"),
    ],
)
def test_a_study_that_cannot_be_named_is_refused(tmp_path, monkeypatch, file, name, message):
    (tmp_path / file).write_text(STUDY.replace('"NAME"', name))
    with pytest.raises(InputError, match=message):
        program(tmp_path, monkeypatch).study(str(tmp_path / file))
