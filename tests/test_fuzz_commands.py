"""Command lines made of anything: configured or refused in a line; nothing left that loads."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import shutil
import sys
import types
import typing
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import strategies as st
from test_fuzz import LONGEST, fuzzed

from gpu_bench import run as vision_cli
from mirrorflow import InputError
from mirrorflow.results import load
from mirrorflow.sweep import __main__ as cli

STUDIES = {name: cli.PROGRAM.study(name) for name in cli.PROGRAM.studies}
PROTOCOLS = {name: vision_cli.PROGRAM.study(name) for name in vision_cli.PROGRAM.studies}
NUMBERS = "0", "1", "-1", "2", "3", "0.5", "-0.5", "nan", "inf", "-inf", "1e999", "1e-320", "1e300"
NUMBERS += "9" * 30, "9" * 5000, "0x10", "1_0", "１", "1e3", "", "None", "True"
WORDS = (
    "all",
    "pilot",
    "dense",
    "erk",
    "constant",
    "cosine",
    "gaussian",
    "digits",
    "cifar10",
    "auto",
)
WORDS += (
    "cpu",
    "cuda:99",
    "cuda",
    "\x1b[31m",
    "a\nb",
    "\udcff",
    "../up",
    "x" * 300,
    "é",
    "{a}",
    "%s",
)
FLAGS_OF_ALL = "--out", "--help-me", "--", "-x", "--seeds", "--jobs"


def flags(kind: type) -> list[str]:
    return [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(kind)]


def suggested(kind: type) -> dict[str, list[str]]:
    """The words that a flag takes, where its type lists them."""
    found = {}
    for name, hint in typing.get_type_hints(kind, include_extras=False).items():
        words = _literals(hint)
        if words:
            found[f"--{name.replace('_', '-')}"] = words
    return found


def _literals(hint: Any) -> list[str]:
    if typing.get_origin(hint) is typing.Literal:
        return [str(value) for value in typing.get_args(hint)]
    return [word for part in typing.get_args(hint) for word in _literals(part)]


@st.composite
def lines(draw: Any, kinds: dict[str, type], files: Sequence[str]) -> list[str]:
    """A study or protocol, some of its flags, and words that are values of them as a rule."""
    name = draw(st.sampled_from(sorted(kinds)))
    known, literals = flags(kinds[name]), suggested(kinds[name])
    words = [] if draw(st.integers(0, 9)) == 0 else [name]
    for _ in range(draw(st.integers(0, 4))):
        flag = draw(st.one_of(st.sampled_from(known), st.sampled_from([*known, *FLAGS_OF_ALL])))
        kind = draw(st.integers(0, 9))
        if kind == 0:
            value = draw(st.sampled_from(WORDS))
        elif kind == 1:
            value = draw(st.text(max_size=4))
        elif kind == 2:
            value = draw(st.sampled_from(list(files)))
        elif flag in literals:
            value = draw(st.sampled_from(literals[flag]))
        elif kind < 7:  # numbers that every flag of a number reads
            value = draw(st.sampled_from(NUMBERS[:5]))
        else:
            value = draw(st.sampled_from(NUMBERS))
        words += [flag] + [value] * draw(st.sampled_from([1, 1, 1, 1, 0, 2]))
    return words


class Configured(Exception):
    """The command line was understood and nothing is left but to compute."""


def stop(*_: Any, **__: Any) -> Any:
    raise Configured


def outcome(main: Callable[[list[str]], int], words: list[str], folder: Path) -> str:
    """Run the command in a folder of its own: what it says and leaves is part of the check."""
    out, err = io.StringIO(), io.StringIO()
    shutil.rmtree(folder / "work", ignore_errors=True)
    (folder / "work").mkdir()
    np.savez(folder / "work" / "good.npz", Z=np.array([[1.0, 2.0, 3.0]]), y=np.array([2.0]))
    (folder / "work" / "bad.npz").write_bytes(b"PK\x03\x04")
    shown = warnings.showwarning
    with (
        contextlib.chdir(folder / "work"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["command", *words]),
    ):
        try:
            code: Any = main(list(words))
        except SystemExit as end:  # tyro's own: help, or a usage error in a frame
            code = "usage" if end.code in (0, 2) else end.code
        except Configured:
            code = "configured"
        finally:
            warnings.showwarning = shown
    said = err.getvalue()
    assert "Traceback" not in said + out.getvalue()
    with pytest.raises(InputError):
        load(folder / "work" / "results" / "**")
    if code == 2:
        assert said.startswith("error: ")
        lines = [line for line in said.splitlines() if not line.startswith("warning: ")]
        assert len(lines) == 1, said
        assert lines[0].isprintable()
        assert len(lines[0]) < LONGEST + 5000  # it may quote the longest word
        return "refused"
    assert code in ("usage", "configured"), code
    return code


FILES = "good.npz", "bad.npz", ".", "none.npz", "/dev/null", "/dev/zero"


@fuzzed(lines(STUDIES, FILES), quick=100, long=1500, kinds=("refused", "usage", "configured"))
def test_studies_are_configured_or_refused(words: list[str], folder: Path) -> str:
    with mock.patch("mirrorflow.runs.runner.execute", stop):
        return outcome(cli.main, words, folder)


@fuzzed(lines(PROTOCOLS, FILES), quick=60, long=1500, kinds=("refused", "usage", "configured"))
def test_protocols_are_configured_or_refused(words: list[str], folder: Path) -> str:
    ranks = types.SimpleNamespace(join=stop)
    with mock.patch("gpu_bench.job.Ranks", ranks):
        return outcome(vision_cli.main, words, folder)


places = st.one_of(st.sampled_from([*FILES, *WORDS, "--page", "x.html", ""]), st.text(max_size=4))


@fuzzed(
    st.tuples(st.booleans(), st.lists(places, max_size=3)),
    quick=30,
    long=500,
    kinds=("refused",),
)
def test_reports_of_nothing_are_refused(case: tuple[bool, list[str]], folder: Path) -> str:
    vision, words = case
    return outcome(vision_cli.main if vision else cli.main, ["report", *words], folder)
