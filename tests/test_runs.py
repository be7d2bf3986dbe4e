"""The runner on a toy study: what it computes, keeps, repeats, prints and answers."""

from __future__ import annotations

import dataclasses
import io
import json
import shlex
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from rich.console import Console

from mirrorflow import InputError, results
from mirrorflow.runs import runner
from mirrorflow.runs.cli import command, screen
from mirrorflow.runs.executors import Failure
from mirrorflow.runs.flags import read_flags
from mirrorflow.runs.stopping import Stopped
from mirrorflow.runs.study import Study, Summary, Verdict, Work
from mirrorflow.runs.verdicts import print_summary, print_verdicts

COMPUTED: list[int] = []  # numbers of the runs that were computed, in order
BROKEN: dict[int, Exception] = {}  # what they raise


@dataclass(frozen=True)
class Toy(Study):
    """Squares of numbers."""

    out: Path = Path("results/toy")
    jobs: int = 1
    seeds: int = 4
    """How many."""
    rates: tuple[float, ...] = (0.5, 2.0)
    mode: str = "all"
    loud: bool = False
    given: int | None = None

    name = "toy"
    title: ClassVar[str] = "Toy"
    units = {"square": "units of x²"}  # noqa: RUF012
    lists = {"parts": "part"}  # noqa: RUF012
    note: ClassVar[str] = "A note."
    holds: ClassVar[bool] = True

    def runs(self):
        numbers = [(s, r) for s in range(self.seeds) for r in self.rates]
        return [self.run_of(*pair) for pair in [*numbers, *numbers[:1]]]

    def run_of(self, seed, rate):
        return results.Run({"seed": seed, "rate": rate, "mode": "fast", "given": None}, "digest")

    @classmethod
    def digest(cls):
        return "digest"

    @staticmethod
    def compute(specs):
        found = []
        for spec in specs:
            COMPUTED.append(spec["seed"])
            if spec["seed"] in BROKEN:
                raise BROKEN[spec["seed"]]
            value = spec["rate"] ** 2
            row = {"square": value, "square_bound": 2.0, "square_holds": value <= 2.0}
            row["parts"] = [1, 2][: 1 + (spec["rate"] == 3.0)]
            found.append((row, {"x": [value]}))
        return found

    def column(self, claim):
        return "square"

    def verdicts(self, frame):
        said = "confirmed" if self.holds else "refuted in 4"
        return [Verdict("squares are small", len(frame), 4.0, 2.0, said)]

    def summary(self, frame):
        return Summary("Means", ["a", "b", "c"], [["x", "y", "0.5"]])

    def remarks(self, frame):
        return ["A remark."]

    def figures(self, frame, paths):
        (self.out / "drawn.txt").write_text(str(sorted(paths)))
        return [self.out / "drawn.txt"]


class Refuted(Toy):
    holds: ClassVar[bool] = False


@pytest.fixture(autouse=True)
def _fresh():
    COMPUTED.clear()
    BROKEN.clear()


def run(study, module="toys"):
    return runner.run(study, module, "toy")


def test_each_run_is_computed_once_and_kept(tmp_path, capsys):
    """A run named twice too; what is on disk is not repeated, with --force all of it is."""
    study = Toy(out=tmp_path)
    assert run(study) == 0
    assert COMPUTED == [0, 0, 1, 1, 2, 2, 3, 3]
    out = capsys.readouterr().out
    assert "A note." in out
    assert "A remark." in out
    names = "rows.parquet, paths.npz, manifest.json, drawn.txt, verdicts.csv"
    assert f"8 runs in {tmp_path}/: {names}" in out.replace("\n", " ")
    frame = results.load(tmp_path)
    assert frame["square"].tolist() == [0.25, 4.0] * 4
    assert {f"{key}/x" for key in frame["key"]} == {*results.load_paths(tmp_path / "paths.npz")}
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (claim,) = manifest["claims"]["claims"]
    assert claim == {
        **{"claim": "squares are small", "trials": 8, "value": 4.0, "bound": 2.0},
        **{"verdict": "confirmed", "expected": True},
    }
    assert (manifest["study"], manifest["title"], manifest["remarks"]) == (
        "toy",
        "Toy",
        ["A remark."],
    )
    assert (manifest["claims"]["title"], manifest["claims"]["note"]) == ("Toy", "A note.")
    assert manifest["summary"]["title"] == "Means"
    assert manifest["configuration"] == {**study.plain(), "rates": [0.5, 2.0]}
    assert study.plain()["out"] == str(tmp_path)
    assert {"drawn.txt", "verdicts.csv", "summary.tex"} <= {*manifest["figures"]}
    COMPUTED.clear()
    next((tmp_path / "shards").glob("*.run")).unlink()
    assert run(study) == 0
    assert len(COMPUTED) == 1
    COMPUTED.clear()
    assert run(dataclasses.replace(study, force=True)) == 0
    assert len(COMPUTED) == 8


def test_rows_have_the_units_and_the_lists_of_their_study(tmp_path):
    study = Toy(out=tmp_path, seeds=1, rates=(0.5, 3.0))
    assert run(study) == 0
    frame = results.load(tmp_path)
    assert frame.attrs["units"] == {"square": "units of x²"}
    assert frame[["rate", "part"]].to_numpy().tolist() == [[0.5, 1], [3.0, 1], [3.0, 2]]
    assert "parts" not in frame


def test_forced_runs_are_off_the_disk_before_the_first_is_computed(tmp_path):
    """Who breaks the command off goes on without the flag."""
    assert run(Toy(out=tmp_path)) == 0
    BROKEN[0] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as stop:
        run(Toy(out=tmp_path, force=True))
    assert stop.type is Stopped
    assert stop.value.code == 130
    assert stop.value.farewell.startswith("\nInterrupted; finished runs are kept. To go on: ")
    assert not list((tmp_path / "shards").glob("*.run"))


def test_what_fails_is_named_and_spares_the_others(tmp_path, capsys):
    BROKEN[2] = RuntimeError("broken on purpose")
    assert run(Toy(out=tmp_path)) == 1
    errors = capsys.readouterr().err
    assert "error: 2 of 8 runs failed.\n" in errors
    assert errors.count("RuntimeError: broken on purpose") == 2
    assert errors.count("error: a run failed: {'seed': 2") == 2
    words = f"--out {tmp_path / 'repeat'} --seeds 3 --rates 2.0 --mode fast\n"
    assert f"To repeat it: python -m toys toy {words}" in errors
    done, failed = results.split(results.load(tmp_path))
    assert (len(done), failed["seed"].tolist()) == (6, [2, 2])
    assert failed["attempts"].tolist() == [3, 3]
    assert COMPUTED.count(2) == 6
    BROKEN.clear()
    assert run(Toy(out=tmp_path)) == 0
    assert len(results.load(tmp_path)) == 8


def test_only_three_failures_are_told(tmp_path, capsys):
    BROKEN.update({seed: RuntimeError("broken") for seed in range(4)})
    assert run(Toy(out=tmp_path)) == 1
    assert capsys.readouterr().err.count("a run failed") == 3


def test_what_is_refused_is_no_failure(tmp_path):
    """It is bad input: said in its sentence, and the next command asks again."""
    BROKEN[1] = InputError("rate must be even.")
    with pytest.raises(InputError, match=r"^rate must be even\.$"):
        run(Toy(out=tmp_path))
    assert COMPUTED.count(1) == 2
    assert len(results.load(tmp_path)) == 6
    assert not list((tmp_path / "shards").glob("*.failed.json"))


def test_a_refuted_claim_is_named_with_a_run_that_refutes_it(tmp_path, capsys):
    assert run(Refuted(out=tmp_path)) == 3
    errors = capsys.readouterr().err
    assert "refuted in 4: squares are small (value 4.0e+00, bound 2.0e+00)\n" in errors
    words = f"--out {tmp_path / 'repeat'} --seeds 1 --rates 2.0 --mode fast\n"
    assert errors.endswith(f"To repeat one: python -m toys toy {words}")


def test_runs_that_refute_a_claim_and_that_keep_a_printed_one(tmp_path, monkeypatch):
    study = Toy(out=tmp_path)
    run(study)
    frame = results.load(tmp_path)
    large = frame["rate"].eq(2.0)
    wrong, kept = (Verdict("c", 8, 0.0, 0.0, said) for said in ("refuted in 4", "not refuted in 4"))
    assert study.against(frame, wrong) == frame["key"][large].tolist()
    assert study.against(frame, kept) == frame["key"][~large].tolist()
    frame.loc[large, "square_bound"] = float("nan")  # can't be judged
    assert study.against(frame, wrong) == []
    asked = []
    monkeypatch.setattr(Toy, "column", lambda self, claim: asked.append(claim) or "square")
    study.against(frame, wrong)
    assert asked == ["c"]  # the claim's own column


class Growing(Toy):
    """A search: its next runs follow from the last."""

    def runs(self):
        return [self.run_of(seed, 1.0) for seed in range(min(len(COMPUTED) + 1, 3))]


def test_a_search_goes_on_until_it_names_no_new_run(tmp_path):
    assert run(Growing(out=tmp_path)) == 0
    assert COMPUTED == [0, 1, 2]
    assert len(results.load(tmp_path)) == 3


def test_a_study_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="study toy must have a run, but these flags leave none"):
        run(Toy(out=tmp_path, seeds=0))


@dataclass(frozen=True)
class Ranked(Work):
    """Computing by several processes at once, of which this is one."""

    together = True

    def agree(self, text):
        AGREED.append(text)


AGREED: list[str] = []


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("broken", [True, False])
def test_only_the_first_of_ranks_that_compute_together_writes(tmp_path, first, broken):
    AGREED.clear()
    if broken:
        BROKEN[1] = InputError("rate must be even.")
    work = Ranked(Toy)
    object.__setattr__(work, "first", first)
    study = Toy(out=tmp_path, rates=(1.0,))
    runs = study.runs()[:-1]
    failures = runner.execute(study, runs, study.store(), work)
    assert COMPUTED == [0, 1, 2, 3]
    assert failures == ([(runs[1], Failure("rate must be even.", 1, True))] if broken else [])
    assert len(list((tmp_path / "shards").iterdir())) == (4 - broken if first else 0)
    assert [" ".join(["False", *(one.key for one in runs)]), "ready"] == AGREED


@pytest.mark.parametrize("failing", [True, False])
def test_a_later_rank_says_by_its_code_whether_a_run_failed(tmp_path, monkeypatch, failing):
    class Later(Work):
        first = False

    if failing:
        BROKEN[1] = ValueError("odd")
    monkeypatch.setattr(Toy, "work", lambda *_: Later(Toy))
    assert run(Toy(out=tmp_path, rates=(1.0,))) == failing


def test_no_more_workers_are_asked_for_than_there_is_work(tmp_path, monkeypatch):
    """On this machine; a cluster decides that itself, and its jobs write below the results."""
    asked, make = [], runner.executor

    def recorded(*arguments):
        asked.append(arguments)
        return make(1)

    monkeypatch.setattr(runner, "executor", recorded)
    study = Toy(out=tmp_path / "a" / ".." / "b", jobs=9, seeds=2, rates=(1.0,))
    (tmp_path / "a").mkdir()
    for scheduler, jobs in ((None, 2), (None, 1), ("tcp://host:1", 9)):
        assert run(dataclasses.replace(study, scheduler=scheduler)) == 0
        assert asked.pop() == (jobs, scheduler, tmp_path / "b" / "submitit")


def test_a_worker_with_other_code_is_refused(tmp_path):
    with pytest.raises(InputError, match="not the one of this command; install the same on both"):
        Work(Toy)([results.Run({"seed": 0}, "another")])


# ---- a study's command


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seeds": 7, "rates": (1.0, 3.0)},
        {"mode": "a b", "loud": True, "given": 3},
        {"out": Path("x y"), "force": True},
    ],
)
def test_the_command_typed_is_read_as_the_study(changes):
    study = Toy(**changes)
    words = shlex.split(study.typed("toys toy"))
    assert words[:2] == ["toys", "toy"]
    assert read_flags(Toy, words[2:], "toys", "") == study


def test_a_study_of_one_run():
    study = Toy(seeds=9, force=True, given=3, out=Path("here"))
    one = study.narrowed(study.run_of(5, 2.0))
    assert one == Toy(seeds=6, rates=(2.0,), mode="fast", out=Path("here/repeat"))
    assert one.force is False
    kept = dataclasses.replace(study, mode="slow").narrowed(study.run_of(5, 2.0))
    assert kept.mode == "slow"


@pytest.mark.parametrize(("jobs", "rule"), [(-1, "at least 0"), (1025, "at most 1024")])
def test_flags_of_all_studies(jobs, rule):
    Toy(jobs=1024).check_common()
    Toy(jobs=0).check_common()
    with pytest.raises(InputError, match=rf"--jobs must be .*{rule}"):
        Toy(jobs=jobs).check_common()
    with pytest.raises(InputError, match="--out must name a folder"):
        Toy(out=Path()).check_common()


def test_flags_without_effect_are_refused():
    Toy().refuse(["given", "loud"], "others", "it is this")
    for flag, value in (("given", 0), ("loud", True)):
        said = f"--{flag.replace('_', '-')} belongs to others, but it is this."
        with pytest.raises(InputError) as refused:
            Toy(**{flag: value}).refuse(["given", "loud"], "others", "it is this")
        assert str(refused.value) == said


# ---- tables, screens, exit codes


@pytest.mark.parametrize(
    ("verdict", "colour"),
    [
        *[(said, "32") for said in ("confirmed", "reproduced", "refuted (v1)", "outside")],
        *[(said, "1;31") for said in ("refuted in 1", "not refuted in 1", "not reproduced")],
        *[(said, "33") for said in ("can't be judged in 1", "no trial finished")],
    ],
)
def test_colours_of_verdicts(verdict, colour):
    """Green is what theory says, red what contradicts it or the paper, yellow neither."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system="standard", width=120)
    print_verdicts(console, "Title", [Verdict("c", 3, 0.125, 1e-6, verdict)], ["A remark of 3."])
    text = stream.getvalue()
    assert f"\x1b[{colour}m{verdict}" in text
    assert "1.2e-01" in text
    assert "1.0e-06" in text
    assert "A remark of 3.\n" in text  # its number is no colour


def test_tables_of_numbers_fold_names_and_keep_digits():
    stream = io.StringIO()
    rows = [["name " * 9, "b", "0.123456", "7"]]
    summary = Summary("Title", ["a", "b", "c", "d"], rows)
    print_summary(Console(file=stream, width=40), summary)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("Title")
    assert [cell.strip() for cell in lines[2].strip("┃ ").split("┃")] == ["a", "b", "c", "d"]
    assert all(len(line) <= 40 for line in lines)
    assert sum("0.123456 │ 7 │" in line for line in lines) == 1
    assert " ".join("".join(line.split("│")[1:2]) for line in lines).count("name") == 9


def test_a_screen_has_79_columns():
    words = "many words " * 12
    table = {"a": words, "long_name_of_it": words}
    lines = screen("usage: it", {"Title": table}, words).split("\n")
    assert lines[:3] == ["usage: it", "", "Title"]
    assert all(len(line) <= 79 for line in lines)
    assert max(map(len, lines)) > 70
    first, second = (next(line for line in lines if f"  {name} " in line) for name in table)
    assert first.index("many") == second.index("many") == 18
    blank = lines.index("", 3)
    assert all(line[:18].isspace() for line in lines[3:blank] if line not in (first, second))
    assert " ".join(lines[blank + 1 :]).split() == words.split()


def raising(error):
    @command
    def main():
        raise error

    return main()


def test_exit_codes(monkeypatch, capsys, tmp_path):
    assert command(lambda: None)() == 0
    assert command(lambda: 3)() == 3
    assert raising(InputError("n must be 1.")) == 2
    assert capsys.readouterr().err == "error: n must be 1.\n"
    monkeypatch.setenv("RANK", "0")
    assert raising(InputError("n must be 1.")) == 2
    assert capsys.readouterr().err == "error: n must be 1.\n"
    monkeypatch.setenv("RANK", "1")  # said once, by the first
    assert raising(InputError("n must be 1.")) == 2
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("RANK")
    assert raising(FileNotFoundError(2, "No such file", "x.npz")) == 2
    assert "x.npz" in capsys.readouterr().err
    with pytest.raises(OSError, match="broken"):
        raising(OSError("broken"))
    assert raising(Stopped(signal.SIGTERM, "kept")) == 143
    assert capsys.readouterr().err == "kept\n"
    with pytest.raises(RuntimeError):
        raising(RuntimeError("a fault of ours"))
