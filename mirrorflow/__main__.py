"""Command `mirrorflow`, also as python -m mirrorflow: the first screen, and the way to the rest."""

from __future__ import annotations

import difflib
import importlib
import sys
from dataclasses import make_dataclass

from gpu_bench import run as vision
from mirrorflow import __version__
from mirrorflow.checks import InputError
from mirrorflow.runs.cli import command, screen
from mirrorflow.sweep import __main__ as sweep

# command: the module whose main takes the words after it, words to put before these, and about it
COMMANDS = {
    "sweep": ("mirrorflow.sweep.__main__", [], "a study: verdicts, figures and rows"),
    "report": ("mirrorflow.sweep.__main__", ["report"], "result folders as one HTML page"),
    "reproduce": ("mirrorflow.sweep.__main__", ["reproduce"], "all that is checked of a paper"),
    "explore": ("mirrorflow.explore.command", [], "sliders in a browser: the bias changes live"),
    "vision": ("gpu_bench.run", [], "sparse training of image networks, by PyTorch"),
}


@command
def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code, 2 where there is none of that name."""
    before, words = sys.argv, list(sys.argv[1:] if arguments is None else arguments)
    typed = "python -m mirrorflow" if before[0].endswith("__main__.py") else "mirrorflow"
    if not words or words[0] in ("-h", "--help"):
        print(first_screen(typed))
        return 0
    if words[0] == "--version":
        print(f"mirrorflow {__version__}")
        return 0
    if words[0].startswith("--tyro-"):
        _print_completion(words)
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise _unknown(name)
    module, first, _ = COMMANDS[name]
    # results name the command that made them, usage lines the one that was typed
    sys.argv = [typed if first else f"{typed} {name}", *first, *rest]
    try:
        return int(importlib.import_module(module).main(sys.argv[1:]))
    finally:
        sys.argv = before


def first_screen(typed: str) -> str:
    """Return the first screen: every command, with the studies and protocols it knows."""
    tables = {
        "Commands": {name: about for name, (_, _, about) in COMMANDS.items()},
        "Studies: mirrorflow sweep STUDY": sweep.PROGRAM.studies,
        "Protocols: mirrorflow vision PROTOCOL": vision.PROGRAM.studies,
    }
    last = "mirrorflow COMMAND --help says more; mirrorflow --version which this is."
    return screen(f"usage: {typed} COMMAND [...]", tables, last)


def _print_completion(words: list[str]) -> None:
    """Let tyro print what completes all commands in a shell, and exit."""
    import tyro

    from mirrorflow.runs.flags import subcommands

    kinds = {
        name: (make_dataclass(name, [("study", program.parser())]), COMMANDS[name][2])
        for name, program in (("sweep", sweep.PROGRAM), ("vision", vision.PROGRAM))
    }
    tyro.cli(subcommands(kinds), args=words, prog="mirrorflow")


def _unknown(name: str) -> InputError:
    known = {name: name for name in COMMANDS}
    known |= {study: f"sweep {study}" for study in sweep.PROGRAM.studies}
    known |= {protocol: f"vision {protocol}" for protocol in vision.PROGRAM.studies}
    near = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean mirrorflow {known[near[0]]}?" if near else ""
    return InputError(f"COMMAND must be one of {', '.join(COMMANDS)}, but it is {name!r}.{hint}")


if __name__ == "__main__":
    sys.exit(main())
