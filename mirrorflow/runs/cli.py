"""Command line that studies, vision grids and benchmarks share.

Output never fails: what a stream's encoding can't show is replaced. Exit codes are 0 done, 1 runs
failed, 2 bad input (one sentence on stderr), 3 a claim is refuted, 128 + signal where Ctrl-C or
SIGTERM ended it.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from mirrorflow.checks import InputError, meant, refused_file
from mirrorflow.runs.stopping import Stopped

if TYPE_CHECKING:
    from mirrorflow.runs.executors import Failure
    from mirrorflow.runs.store import Row, Run

__all__ = ["chosen", "command", "configured", "failed", "narrowed", "plain", "typed"]

EXIT_CODES = (
    "Exit code: 0 done, 1 runs failed, 2 bad input, 3 a claim is refuted, 128 + signal after "
    "Ctrl-C or SIGTERM."
)
Settings = TypeVar("Settings")
Arguments = ParamSpec("Arguments")


def command(main: Callable[Arguments, int | None]) -> Callable[Arguments, int]:
    """Make `main` a command: its output never fails, what it raises becomes an exit code."""

    @functools.wraps(main)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        warnings.showwarning = _show_warning
        try:
            code = main(*args, **kwargs) or 0
            sys.stdout.flush()
            return code
        except BrokenPipeError:  # the reader has gone (| head); what is left is written nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141  # 128 + SIGPIPE
        except InputError as error:
            message = str(error)
        except OSError as error:
            if error.filename is None:  # not a file's fault
                raise
            message = refused_file(error)
        except Stopped as stop:
            print(stop.farewell, file=sys.stderr)
            return stop.code
        if os.environ.get("RANK", "0") == "0":  # once, not once for each rank
            print(f"error: {message}", file=sys.stderr)
        return 2

    return wrapped


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


def chosen(
    words: list[str] | None, kind: str, names: Sequence[str], default: str
) -> tuple[str, list[str]]:
    """The first word, which is one of `names`, and the words after it.

    Parameters
    ----------
    words : list of str or None
        None stands for those of this process.
    kind : str
        What `names` are, for the message.
    default : str
        The name where the first word is a flag or there is none.

    Raises
    ------
    InputError
        If the first word is no flag and none of `names`.
    """
    words = list(sys.argv[1:] if words is None else words)
    name = words.pop(0) if words and not words[0].startswith("-") else default
    if name not in names:
        rule = f"{kind} must be one of {', '.join(names)}, but it is {name!r}."
        raise InputError(rule + meant(name, names))
    return name, words


def configured(
    kind: Callable[..., Settings], words: list[str], prog: str, listed: Mapping[str, str]
) -> Settings:
    """Settings from flags; `--help`, which lists the commands, and unknown flags exit here."""
    import tyro

    lines = "\n".join(f"  {name}: {text}" for name, text in listed.items())
    description = f"{kind.__doc__}\n\n{lines}\n\n{EXIT_CODES}"
    return tyro.cli(kind, args=words, prog=prog, description=description)


def plain(settings: Any) -> dict[str, Any]:
    """Settings for a manifest: numbers, lists and None as they are, the rest as text."""
    values = dataclasses.asdict(settings)
    kept = (int, float, list, tuple, type(None))
    return {name: v if isinstance(v, kept) else str(v) for name, v in values.items()}


def narrowed(settings: Settings, spec: Row) -> Settings:
    """Settings whose runs are the one of `spec`, or as few more as flags can say.

    They compute it anew, in a folder `repeat` below that of `settings`.
    """
    changes: dict[str, Any] = {"force": False}
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value, one = getattr(settings, field.name), field.name.removesuffix("s")
        if field.name in spec and spec[field.name] is None:  # not an option of this run
            changes[field.name] = field.default
        elif value == "all":
            changes[field.name] = spec[field.name]
        elif one in spec and one != field.name:  # seeds, totals, methods, …
            changes[field.name] = (spec[one],) if isinstance(value, tuple) else spec[one] + 1
    return dataclasses.replace(settings, **changes)  # type: ignore[type-var]


def typed(prog: str, settings: Any) -> str:
    """The command with these settings."""
    words = []
    for field in dataclasses.fields(settings):
        value, flag = getattr(settings, field.name), field.name.replace("_", "-")
        if isinstance(value, bool) and value != field.default:
            words += [f"--{flag}" if value else f"--no-{flag}"]
        elif value != field.default:
            words += [f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))]
    return f"{prog} {shlex.join(words)}"


def failed(
    failures: Sequence[tuple[Run, Failure]], total: int, repeat: Callable[[Run], str]
) -> int:
    """Name what failed, with the commands that repeat it; returns the exit code.

    Raises
    ------
    InputError
        If a worker refused its run.
    """
    for run, failure in [pair for pair in failures if not pair[1].refused][:3]:
        print(f"error: a run failed: {run.spec}\n{failure.message}", file=sys.stderr)
        print(f"To repeat it: {repeat(run)}", file=sys.stderr)
    for _, failure in failures:
        if failure.refused:
            raise InputError(failure.message)
    if failures:
        print(f"error: {len(failures)} of {total} runs failed.", file=sys.stderr)
    return 1 if failures else 0
