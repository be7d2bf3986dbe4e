"""Commands: output on any stream, exit codes, the command that repeats a run."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from rich.console import Console

from gpu_bench import run as vision_cli
from mirrorflow import results
from mirrorflow.claims.registry import CLAIMS, GROUPS
from mirrorflow.runs.study import Study, Summary, Verdict
from mirrorflow.runs.verdicts import print_summary, print_verdicts
from mirrorflow.sweep import __main__ as cli
from mirrorflow.sweep import descents, theorem23
from mirrorflow.sweep.theorem23 import Theorem23

TINY = ["--problem", "gaussian", "--n", "4", "--d", "8", "--k", "1", "--seeds", "2", "--totals"]
TINY += ["0", "0.5", "--schedules", "constant", "geometric", "--transition-betas", "--jobs", "1"]


# ---- streams that can't show everything


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize(
    ("module", "words", "code"),
    [
        ("mirrorflow", [], 0),
        ("mirrorflow.sweep", ["--help"], 0),
        ("mirrorflow.sweep", [*TINY, "--out", "out"], 0),
        ("mirrorflow.sweep", ["Theorem²³ ∇"], 2),
        ("mirrorflow.sweep", ["--data", "ζ.csv"], 2),
        ("gpu_bench.run", ["--help"], 0),
        ("gpu_bench.run", ["tune", "--help"], 0),
        ("gpu_bench.run", ["--dataset", "α"], 2),
        ("benchmarks.run", ["--help"], 0),
        ("benchmarks.run", ["vision", "--help"], 0),
        ("benchmarks.run", ["total-decay", "--help"], 0),
    ],
    ids=lambda value: " ".join(value)[:20] if isinstance(value, list) else None,
)
def test_what_a_stream_cannot_show_is_replaced(tmp_path, encoding, module, words, code):
    command = [sys.executable, "-m", module, *words]
    root = os.path.dirname(os.path.dirname(__file__))
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": root}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    said = (done.stdout + done.stderr).decode(encoding)
    assert "Traceback" not in said
    assert done.returncode == code, said
    assert "error: " in said if code else len(said) > 200


@pytest.mark.parametrize("said", ["can't be judged in 46", "not refuted in 200", "confirmed"])
def test_verdicts_fit_80_columns(said):
    console = Console(width=80, file=io.StringIO())
    print_verdicts(console, "t", [Verdict(c, 46, 1e-7, 2e-6, said) for c in Theorem23.claims], [])
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line[-1] in "┓┃┩│┘" for line in lines[1:])
    cells = [line.split("│")[-2].strip() for line in lines if line.count("│") == 6]
    assert " ".join(cells).split() == said.split() * len(Theorem23.claims)


def test_digits_stay_where_names_are_wrapped():
    console = Console(width=80, file=io.StringIO())
    names = ["α(‖m‖²+‖w‖²), balanced", "geometric"]
    numbers = [f"{2.0**k:.1e}" for k in range(6)]
    heads = ["regulariser", "schedule", *(f"A={2.0**k:g}" for k in range(6))]
    print_summary(console, Summary("t", heads, [names + numbers]))
    text = console.file.getvalue()
    assert all(number in text for number in numbers)
    assert "…" not in text
    cells = [line.split("│")[1:3] for line in text.splitlines() if "│" in line]
    assert ["".join(parts).replace(" ", "") for parts in zip(*cells, strict=True)] == [
        name.replace(" ", "") for name in names
    ]


@pytest.mark.parametrize("words", [["mirrorflow"], ["mirrorflow.sweep", "--help"]])
def test_a_reader_that_has_gone_ends_a_command_without_a_word(words):
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(__file__))}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, env=environment, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 141  # 128 + SIGPIPE


# ---- exit codes, and the command that repeats a run


@pytest.mark.parametrize(
    ("verdict", "refuted"),
    {
        "confirmed": False,
        "reproduced": False,
        "not reproduced": False,
        "outside": False,
        "refuted (v1)": False,
        "can't be judged in 3": False,
        "no trial finished": False,
        "refuted in 1": True,
        "not refuted in 2": True,
    }.items(),
)
def test_what_contradicts_the_theory(verdict, refuted):
    assert Verdict("claim", 3, 2.0, 1.0, verdict).refuted == refuted


def spoil(monkeypatch, chosen, change, kind=theorem23.Theorem23):
    """Let `change` have the row of the runs that `chosen` picks by their specification."""
    compute = kind.compute

    def spoiled(specs):
        finished = compute(specs)
        for spec, (row, _) in zip(specs, finished, strict=True):
            if chosen(spec):
                change(row)
        return finished

    spoiled.__module__ = compute.__module__  # a run's digest is of the module that computes it
    monkeypatch.setattr(kind, "compute", staticmethod(spoiled))


def repeated(errors: str) -> Study:
    """The study of the command that repeats a run."""
    (line,) = re.findall(r"^To repeat.*: python -m mirrorflow\.sweep (.*)$", errors, re.MULTILINE)
    name, *words = shlex.split(line)
    return cli.PROGRAM.configure(name, words)


def test_a_refuted_claim_is_exit_code_3_with_its_run(tmp_path, monkeypatch, capsys):
    def off(row):
        row |= {"invariant": 1.0, "invariant_bound": 1e-6, "invariant_holds": False}

    one = {"seed": 1, "schedule": "geometric", "total": 0.5}
    spoil(monkeypatch, lambda spec: one.items() <= spec.items(), off)
    assert cli.main([*TINY, "--out", str(tmp_path)]) == 3
    errors = capsys.readouterr().err
    assert f"refuted in 1: {Theorem23.claims['invariant']}" in errors
    again = repeated(errors)
    assert again.out == tmp_path / "repeat"
    keys = [run.key for run in again.runs()]
    assert len(keys) <= 2  # seeds up to its own
    frame = results.load(tmp_path)
    (wrong,) = frame["key"][~frame["invariant_holds"].astype(bool)]
    assert wrong in keys
    # and without its fault
    monkeypatch.undo()
    assert cli.main([*TINY, "--out", str(tmp_path), "--force"]) == 0
    assert "refuted" not in capsys.readouterr().err


def test_a_descent_that_leaves_the_flow_is_named_with_its_command(tmp_path, monkeypatch, capsys):
    one = {"seed": 1, "shape": "geometric", "total": 1.0, "start": "pilot"}

    def off(row):
        row |= {"flow_difference": 0.5}

    spoil(monkeypatch, lambda spec: one.items() <= spec.items(), off, descents.Initialization)
    words = ["--n", "6", "--d", "12", "--k", "1", "--seeds", "2", "--totals", "0.5", "1"]
    words += ["--step-size", "1e-3", "--steps", "3000", "--per", "100", "--jobs", "1"]
    assert cli.main(["initialization", *words, "--out", str(tmp_path)]) == 3
    errors = capsys.readouterr().err
    assert "refuted in 1: GD stays with exact flow" in errors
    again = repeated(errors)
    assert again.out == tmp_path / "repeat"
    keys = [run.key for run in again.runs()]
    assert len(keys) == 4  # seeds up to its own, both starts
    frame = results.load(tmp_path)
    (wrong,) = frame["key"][frame["flow_difference"].eq(0.5)]
    assert wrong in keys


def test_a_failed_run_is_named_with_its_command(tmp_path, monkeypatch, capsys):
    def fail(row):
        raise RuntimeError("broken on purpose")

    spoil(monkeypatch, lambda spec: spec["total"] == 0.0 and spec["seed"] == 1, fail)
    assert cli.main([*TINY, "--out", str(tmp_path)]) == 1
    errors = capsys.readouterr().err
    assert "broken on purpose" in errors
    done, failed = results.split(results.load(tmp_path))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["runs"], manifest["failed"]) == (len(done), len(failed))
    assert len(failed) == 1
    assert set(failed["key"]) <= {run.key for run in repeated(errors).runs()}


def test_any_run_of_any_study_is_among_those_of_its_command():
    for name in cli.PROGRAM.studies:
        study = cli.PROGRAM.configure(name, ["--out", "results/x y"])
        runs = study.runs()
        for run in (runs[0], runs[len(runs) // 2], runs[-1]):
            narrow = study.narrowed(run)
            words = shlex.split(narrow.typed(""))
            again = cli.PROGRAM.configure(name, words).runs()
            assert run.key in {other.key for other in again}
            assert len(again) < len(runs) or len(runs) == 1
    for name in vision_cli.PROGRAM.studies:
        setting = vision_cli.PROGRAM.configure(name, ["--methods", "all", "--no-capture"])
        run = setting.runs()[-1]
        words = shlex.split(setting.narrowed(run).typed(""))
        narrow = vision_cli.PROGRAM.configure(name, words)
        assert run.key in {other.key for other in narrow.runs()}
        assert len(narrow.methods) == 1


def test_a_claim_is_repeated_alone_and_leaves_the_page_alone(tmp_path):
    study = cli.PROGRAM.configure("claims", ["--page", str(tmp_path / "claims.md")])
    claim = CLAIMS[GROUPS["path"].keys[0]]
    run = next(run for run in study.runs() if run.spec["group"] == "path")
    narrow = study.narrowed(run, claim.statement)
    assert (narrow.only, narrow.trials, narrow.page) == ((claim.key,), 1, None)
    assert study.column(claim.statement) == claim.key


@pytest.mark.parametrize(
    ("main", "words", "rule", "guess"),
    [
        (cli.main, ["theorem32"], "STUDY must be one of theorem23, ", "theorem23"),
        (cli.main, ["regularisation"], "but it is 'regularisation'", "regularization"),
        (cli.main, ["claims", "--only", "invarant"], "--only must hold keys", "invariant"),
        (cli.main, ["quadrature"], "but it is 'quadrature'", None),
        (vision_cli.main, ["one-shoot"], "PROTOCOL must be one of one-shot, ", "one-shot"),
        (vision_cli.main, ["--methods", "dense", "pilott"], "but 'pilott' is not", "pilot"),
        (vision_cli.main, ["--dataset", "cifar-10"], "--dataset must be one of ", "cifar10"),
        (vision_cli.main, ["--model", "resnet-20"], "--model must be one of ", "resnet20"),
        (vision_cli.main, ["--model", "vit"], "--model must be one of ", None),
    ],
)
def test_unknown_names_list_the_known_ones_and_the_nearest(capsys, main, words, rule, guess):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert rule in error
    assert error.endswith(f". Did you mean {guess}?\n" if guess else ".\n")
