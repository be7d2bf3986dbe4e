"""Help of the commands: texts, defaults, groups, first screens, completion in a shell."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import pytest

from benchmarks import run as benchmarks
from gpu_bench import run as vision
from mirrorflow import __main__ as front
from mirrorflow.runs.flags import described, mirrored, read_flags
from mirrorflow.sweep import __main__ as sweep

ROOT = Path(__file__).parents[1]
PROGRAMS = {"sweep": sweep.PROGRAM, "vision": vision.PROGRAM, "benchmarks": benchmarks.PROGRAM}
COMMANDS = [(kind, name) for kind, program in PROGRAMS.items() for name in program.listed]
NEEDED = {"report": ["folder"]}
STUDIES = [(kind, name) for kind, name in COMMANDS if name in PROGRAMS[kind].studies]


@dataclass(frozen=True)
class Inner:
    """Flags with a name
    before them."""

    rate: float = 0.5
    """One
    (or two) lines."""


@dataclass(frozen=True)
class Base:
    out: str = "results"
    """Folder."""

    groups: ClassVar[dict[str, str]] = {"out": "execution"}


@dataclass(frozen=True)
class Toy(Base):
    """A toy
    of flags."""

    count: Annotated[int | None, described("what is there")] = None
    """How many
    (at most)."""
    ends: tuple[float, ...] | None = None
    """Ends."""
    fast: bool = False
    tidy: bool = True
    inner: Inner = field(default_factory=Inner)
    out: str = "results/toy"

    groups: ClassVar[dict[str, str]] = {"count": "size"}


def help_of(read: object, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        read()
    assert not end.value.code
    return capsys.readouterr().out


def boxes(text: str) -> dict[str, list[str]]:
    """The lines of each group of flags, whatever frame is around them."""
    found: dict[str, list[str]] = {}
    for line in (line.strip(" │─╭╮╰╯") for line in text.splitlines()):
        if line.endswith(("options", "arguments")) and not line.startswith("-"):
            found[line] = []
        elif line.strip("-") and found:
            found[list(found)[-1]].append(line)
    return found


def test_flags_come_in_titled_groups_those_of_the_bases_last(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = help_of(lambda: read_flags(Toy, ["--help"], "toy", "About."), capsys)
    groups = boxes(text)
    assert list(groups) == ["options", "inner options", "size options", "execution options"]
    flags = [[line.split("  ")[0] for line in lines] for lines in groups.values()]
    assert flags[1] == ["Flags with a name before them.", "--inner.rate FLOAT"]
    # a switch has one spelling
    size = ["--count INT", "--ends [FLOAT ...]", "--fast", "--no-tidy"]
    assert flags[2:] == [size, ["--out STR"]]
    for words in ("How many (at most). (default: what is there)", "One (or two) lines."):
        assert words in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ([], {}),
        (["--count", "3", "--out", "x"], {"count": 3, "out": "x"}),
        (["--inner.rate", "0.25"], {"inner": Inner(0.25)}),
        (["--ends", "1", "2", "--fast"], {"ends": (1.0, 2.0), "fast": True}),
        (["--no-tidy"], {"tidy": False}),
    ],
)
def test_flags_are_read_into_the_dataclass_itself(words, changes):
    assert read_flags(Toy, words, "toy", "") == dataclasses.replace(Toy(), **changes)


def texts(kind: type) -> Iterator[str]:
    """What the help says of each flag and group."""
    for one in dataclasses.fields(kind):
        yield from (about.help for about in one.type.__metadata__ if getattr(about, "help", None))
        inner = one.type.__origin__
        yield from texts(inner) if dataclasses.is_dataclass(inner) else ()


@pytest.mark.parametrize(("kind", "name"), COMMANDS)
def test_help_says_no_default_none_and_breaks_no_line_of_a_docstring(kind, name, capsys):
    text = help_of(lambda: PROGRAMS[kind].configure(name, ["--help"]), capsys)
    assert "None" not in text
    assert "(default: )" not in text
    assert ("execution options" in boxes(text)) == (name in PROGRAMS[kind].studies)
    found = list(texts(mirrored(type(PROGRAMS[kind].configure(name, NEEDED.get(name, []))))))
    assert len(found) > 1
    assert not [text for text in found if "\n" in text]


@pytest.mark.parametrize(("kind", "name"), STUDIES)
def test_no_flags_are_the_defaults(kind, name):
    assert PROGRAMS[kind].configure(name, []) == PROGRAMS[kind].study(name)()


@pytest.mark.parametrize("kind", PROGRAMS)
def test_the_first_screen_of_a_program_lists_what_it_can_do(kind, capsys):
    program = PROGRAMS[kind]
    for word in ("--help", "-h"):
        assert program.main([word]) == 0
        screen = capsys.readouterr().out
        assert all(f"\n  {name} " in screen for name in program.listed)
        assert max(map(len, screen.splitlines())) < 80


TYPED = [[name] for name in front.COMMANDS]
TYPED += [[kind, name] for kind, name in COMMANDS if kind in front.COMMANDS]


@pytest.mark.parametrize("words", [[], *TYPED], ids=" ".join)
@pytest.mark.parametrize("program", ["mirrorflow", "python -m mirrorflow"])
def test_usage_names_the_command_that_was_typed(program, words, capsys, monkeypatch):
    file = front.__file__ if program.startswith("python") else "/somewhere/bin/mirrorflow"
    before = [file, *words, "--help"]
    monkeypatch.setattr(sys, "argv", before)
    monkeypatch.setenv("COLUMNS", "200")
    with contextlib.suppress(SystemExit):
        assert front.main() == 0
    usage = " ".join([program, *words])
    assert re.match(rf"usage: {usage} (\[|COMMAND)", capsys.readouterr().out)
    assert sys.argv is before


@pytest.mark.parametrize(("kind", "name"), COMMANDS)
def test_usage_names_the_module_that_was_run(kind, name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/__main__.py", name, "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    text = help_of(PROGRAMS[kind].main, capsys)
    assert text.startswith(f"usage: python -m {PROGRAMS[kind].module} {name} [")


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_a_shell_completes_commands_and_their_flags(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mirrorflow", "--tyro-print-completion", "bash"]
    script = subprocess.check_output(command, env=environment, text=True)
    (tmp_path / "completion").write_text(script)

    def completed(*words: str) -> list[str]:
        line = " ".join(words)
        code = f"source completion; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}\n"
        code += f"COMP_LINE='{line}'; COMP_POINT={len(line)}; _tyro_mirrorflow\n"
        code += 'echo "${COMPREPLY[@]}"'
        return subprocess.check_output(["bash", "-c", code], cwd=tmp_path, text=True).split()

    assert completed("mirrorflow", "vi") == ["vision"]
    assert set(completed("mirrorflow", "sweep", "r")) == {"regularization", "report", "reproduce"}
    assert set(completed("mirrorflow", "sweep", "theorem23", "--t-")) == {"--t-end"}
    assert set(completed("mirrorflow", "vision", "cyclic", "--mo")) == {"--model", "--momentum"}
