"""Command line that studies, vision grids and benchmarks share.

Output never fails: what a stream's encoding can't show is replaced. Exit codes are 0 done, 1 runs
failed, 2 bad input (one sentence on stderr), 3 a claim is refuted, 128 + signal where Ctrl-C or
SIGTERM ended it.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
import inspect
import io
import os
import pkgutil
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec

from mirrorflow.checks import InputError, meant, refused_file
from mirrorflow.extras import require
from mirrorflow.runs.stopping import Stopped

if TYPE_CHECKING:
    from mirrorflow.runs.study import Study

__all__ = ["Program", "command", "screen"]

EXIT_CODES = (
    "Exit code: 0 done, 1 runs failed, 2 bad input, 3 a claim is refuted, 128 + signal after "
    "Ctrl-C or SIGTERM."
)
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


@dataclass(frozen=True)
class Program:
    """A command whose first argument is the name of a study, or a file of one's own with one.

    Attributes
    ----------
    module : str
        What one types, python -m MODULE, where not `mirrorflow COMMAND`.
    kind : str
        What a study is called: STUDY.
    package : str
        Its folder's files hold the studies; one that is not chosen is not imported.
    default : str
        The study where none is named.
    needs : tuple of str
        Packages without which nothing goes.
    others : mapping
        Further commands: what each is about, and MODULE:CLASS of a dataclass of its flags, whose
        `run()` does it.
    """

    module: str
    kind: str
    package: str
    default: str
    needs: tuple[str, ...]
    others: Mapping[str, tuple[str, str]]

    @property
    def prog(self) -> str:
        """The command as it was typed: `mirrorflow` leaves its words in sys.argv[0]."""
        typed = sys.argv[0].startswith(("mirrorflow", "python -m "))
        return sys.argv[0] if typed else f"python -m {self.module}"

    @functools.cached_property
    def listed(self) -> dict[str, str]:
        """Every study and further command, and what it is about."""
        return self.studies | {name: words for name, (words, _) in self.others.items()}

    @property
    def studies(self) -> dict[str, str]:
        """Every study and what it is about, the default first."""
        names = sorted(self._by_name, key=lambda name: name != self.default)
        return {name: self._by_name[name].about for name in names}

    @property
    def screen(self) -> str:
        """What `--help` says before a study is named; none is imported for it."""
        usage = f"usage: {self.prog} [{self.kind}] [FLAGS]"
        own = f"a file FILE.py of your own may stand in the place of a {self.kind}"
        last = f"{self.prog} {self.kind} --help shows the flags of one; {own}. {EXIT_CODES}"
        return screen(
            usage, {f"{self.kind}, {self.default} where none is named": self.listed}, last
        )

    @functools.cached_property
    def _by_name(self) -> dict[str, _Listed]:
        spec = importlib.util.find_spec(self.package)
        assert spec is not None
        by_name: dict[str, _Listed] = {}
        for folder in spec.submodule_search_locations or ():
            for path in sorted(Path(folder).glob("*.py")):
                for one in _studies(path, f"{self.package}.{path.stem}"):
                    if one.name in by_name:
                        there = f"{by_name[one.name].module} and {one.module}"
                        rule = f"{one.name} must be the name of one study, but it is that of"
                        raise InputError(f"{rule} {there}.")
                    by_name[one.name] = one
        return by_name

    def study(self, name: str) -> type[Study]:
        """The class of a study.

        Raises
        ------
        InputError
            If there is none of that name, or its file can't be imported.
        """
        listed = self._by_name.get(name)
        if name.endswith(".py"):
            own = _studies(Path(name), Path(name).stem)
            if len(own) != 1:
                raise InputError(f"{name} must hold one study, but it holds {len(own)}.")
            if not Path(name).stem.isidentifier():
                rule = "must have a name that Python can import: letters, digits and _"
                raise InputError(f"{name} {rule}.")
            sys.path.insert(0, str(Path(name).parent.resolve()))  # of the workers too
            (listed,) = own
        if listed is None:
            rule = f"{self.kind} must be one of {', '.join(self.listed)}, but it is {name!r}."
            raise InputError(rule + meant(name, self.listed))
        return self._load(listed.where)

    def _load(self, where: str) -> Any:
        """The object MODULE:NAME.

        Raises
        ------
        InputError
            If the module can't be imported.
        """
        require(self.prog, *self.needs)
        try:
            return pkgutil.resolve_name(where)
        except InputError:
            raise
        except Exception as error:  # of one file; the others still work
            reason = f"{type(error).__name__}: {error}"
            if not isinstance(error, SyntaxError):  # which names its file; often one imported there
                last = traceback.extract_tb(error.__traceback__)[-1]
                reason += f"; {last.filename}, line {last.lineno}"
            raise InputError(f"{where.partition(':')[0]} can't be imported ({reason}).") from error

    def _kind(self, name: str) -> Any:
        return self._load(self.others[name][1]) if name in self.others else self.study(name)

    def configure(self, name: str, words: Sequence[str]) -> Any:
        """A study, or another command, from its flags; `--help` and unknown flags exit here."""
        kind = self._kind(name)

        from mirrorflow.runs.flags import read_flags

        about = f"{inspect.getdoc(kind)}\n\n{EXIT_CODES}"
        read = read_flags(kind, words, f"{self.prog} {name}", about)
        if name not in self.others:
            read.check_given(words)
        return read

    def main(self, arguments: list[str] | None = None) -> int:
        """Run a study, or one of the other commands; returns the exit code."""
        words = list(sys.argv[1:] if arguments is None else arguments)
        if words[:1] in (["-h"], ["--help"]):
            print(self.screen)
            return 0
        name = words.pop(0) if words and not words[0].startswith("-") else self.default
        read = self.configure(name, words)
        if name in self.others:
            return read.run() or 0

        from mirrorflow.runs.runner import run

        return run(read, self.module, name)

    def parser(self) -> Any:
        """What tyro reads as all of the commands, for completion in a shell."""
        from mirrorflow.runs.flags import mirrored, subcommands

        kinds = {}
        for name in self.listed:
            with contextlib.suppress(InputError):  # one that can't be imported spares the others
                kinds[name] = self._kind(name)
        return subcommands({name: (mirrored(k), self.listed[name]) for name, k in kinds.items()})


def screen(usage: str, tables: Mapping[str, Mapping[str, str]], last: str) -> str:
    """A first screen of 79 columns: usage, titled tables of names and words, a last paragraph."""
    lines = [usage]
    for title, table in tables.items():
        lines += ["", title]
        for name, about in table.items():
            lines.append(textwrap.fill(f"  {name:<15} {about}", 79, subsequent_indent=18 * " "))
    return "\n".join([*lines, "", textwrap.fill(last, 79, break_long_words=False)])


class _Listed(NamedTuple):
    name: str
    about: str
    module: str
    kind: str

    @property
    def where(self) -> str:
        return f"{self.module}:{self.kind}"


def _studies(path: Path, module: str) -> list[_Listed]:
    """The studies that a file registers, read without importing it."""
    try:
        tree = ast.parse(path.read_bytes())
    except OSError as error:
        raise InputError(refused_file(error)) from None
    except (SyntaxError, ValueError) as error:
        return [_Listed(path.stem, f"can't be read: {error}", module, "")]
    studies = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if "name" in given:
                try:
                    name, about = (ast.literal_eval(given.get(k, "''")) for k in ("name", "about"))
                except ValueError:
                    rule = f"{path} must have name and about of class {node.name} as plain text"
                    raise InputError(f"{rule}, but its name is {given['name']}.") from None
                studies.append(_Listed(name, about, module, node.name))
    return studies
