"""The README is short, and what it shows is what happens."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from mirrorflow import __main__ as command
from mirrorflow.sweep.__main__ import PROGRAM

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_it_is_short():
    assert len(TEXT.splitlines()) <= 120


def test_the_code_prints_what_stands_below_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    use, draw, _ = BLOCKS
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        exec(compile(use, "README.md", "exec"), names)
    said = [line[2:] for line in use.splitlines() if line.startswith("# ")]
    lines = printed.getvalue().splitlines()
    assert len(said) == len(lines) == 2
    for shown, line in zip(said, lines, strict=True):
        assert shown.startswith(line)
    exec(compile(draw, "README.md", "exec"), names)
    plt.close("all")
    assert Path("slide.pdf").stat().st_size > 10_000
    assert (ROOT / "figures" / "slide.png").is_file()


def test_the_training_code_trains_and_folds():
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    before, scope = {*model.state_dict()}, {"torch": torch, "model": model}
    exec(compile(BLOCKS[2], "README.md", "exec"), scope)
    assert {*model.state_dict()} == before
    assert len(scope["groups"]) == 2


def test_its_commands_are_understood():
    commands = re.findall(r"^mirrorflow (.*?)(?:#.*)?$", TEXT, re.MULTILINE)
    assert len(commands) == 3
    for line in commands:
        name, *words = shlex.split(line)
        assert name in command.COMMANDS
        _, first, _ = command.COMMANDS[name]
        study, *flags = [*first, *words]
        if study.startswith("--"):
            study, flags = PROGRAM.default, [study, *flags]
        PROGRAM.configure(study, flags)


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)", TEXT):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
