"""Flags of a dataclass, read by tyro: texts from its docstrings, in titled groups."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, is_dataclass, make_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

__all__ = ["described", "mirrored", "read_flags", "subcommands"]

Kind = TypeVar("Kind")


def described(default: str, *aliases: str) -> Any:
    """How `--help` shows the default of a flag whose value None says that it is not given."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {default})", aliases=aliases)


def read_flags(kind: type[Kind], words: Sequence[str], prog: str, description: str) -> Kind:
    """A dataclass from its flags; `--help` and unknown flags exit here.

    A field that is a dataclass itself is a group of flags with its name before them:
    --pilot.total. Other groups are what `groups` says, a class variable of the dataclass and of
    its bases: the title of each group by the field that it begins with. A default None is not
    shown: what it stands for is said by `described`, or by the text.
    """
    return _restored(kind, tyro.cli(mirrored(kind), args=words, prog=prog, description=description))


def subcommands(kinds: Mapping[str, tuple[Any, str]]) -> Any:
    """What tyro reads as one of several commands: by name, a `mirrored` class and its line."""
    commands = [
        Annotated[kind, tyro.conf.subcommand(name, description=about)]
        for name, (kind, about) in kinds.items()
    ]
    return Annotated[Union[tuple(commands)], tyro.conf.arg(name="")]  # noqa: UP007


def mirrored(kind: Any, named: bool = False) -> Any:
    """A dataclass that tyro reads as `kind`, the fields of each group within an inner one.

    `named` puts the names of the dataclasses around them before its flags.
    """
    hints, texts, titles = _hints(kind), _texts(kind), _titles(kind)
    order = [title for base in kind.__mro__ for title in vars(base).get("groups", {}).values()]
    entries: dict[str, list[Any]] = {title: [] for title in ("", *order)}
    for one in fields(kind):
        inner, *extra = _parts(hints[one.name])
        if is_dataclass(inner):
            text = tyro.conf.arg(help=texts.get(one.name) or _joined(inspect.getdoc(inner) or ""))
            made = mirrored(inner, named=True)
            group: Any = Annotated[(made, text, *extra)]
            entries[""].append((one.name, group, field(default_factory=made)))
            continue
        about = tyro.conf.arg(
            help=texts.get(one.name),
            help_behavior_hint=_default,
            metavar=_metavar(inner),
            prefix_name=named,
        )
        # a flag has one spelling: --x where it is off, --no-x where it is on
        hint = Annotated[(inner, about, tyro.conf.FlagCreatePairsOff, *extra)]  # type: ignore[valid-type]
        own = field(default=one.default, default_factory=one.default_factory)
        entries[titles[one.name]].append((one.name, hint, own))
    members = entries.pop("")
    for title, group in entries.items():
        made, text = _made(title, group), tyro.conf.arg(name=title, help="")
        members.append((f"_{title}", Annotated[made, text], field(default_factory=made)))
    return _made(kind.__name__, members)


def _made(name: str, members: list[Any]) -> Any:
    return make_dataclass(name, members, kw_only=True)


def _restored(kind: Any, read: Any) -> Any:
    """The dataclass that the mirrored one stands for."""
    values = {name: value for name, value in vars(read).items() if not name.startswith("_")}
    for name in vars(read).keys() - values.keys():
        values |= vars(getattr(read, name))
    hints = {name: _parts(hint)[0] for name, hint in _hints(kind).items()}
    inner = {name: hints[name] for name in values if is_dataclass(hints[name])}
    return kind(**values | {name: _restored(hint, values[name]) for name, hint in inner.items()})


def _hints(kind: Any) -> dict[str, Any]:
    """The types of a dataclass; one that a function makes, `Annotated[Any, made]`, is made now."""
    hints = get_type_hints(kind, include_extras=True)
    for name, hint in hints.items():
        _, *extra = _parts(hint)
        if extra and inspect.isfunction(extra[0]):
            hints[name] = Annotated[(extra[0](), *extra[1:])]
    return hints


def _parts(hint: Any) -> tuple[Any, ...]:
    """A type and what is annotated to it."""
    return (hint.__origin__, *hint.__metadata__) if get_origin(hint) is Annotated else (hint,)


def _default(label: str) -> str:
    return "" if label in ("", "None") else f"(default: {label})"


def _metavar(hint: Any) -> str | None:
    """What a value that may be None looks like where it isn't; None leaves it to tyro."""
    if get_origin(hint) not in (Union, UnionType):
        return None
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return "|".join(map(_shape, kinds)) if NoneType in get_args(hint) else None


def _shape(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"{{{','.join(get_args(kind))}}}"
    if get_origin(kind) is tuple:
        return f"[{_shape(get_args(kind)[0])} ...]"
    return str(kind.__name__.upper())


def _titles(kind: Any) -> dict[str, str]:
    """The group of each field: those of a dataclass of its own before those of its bases."""
    titles: dict[str, str] = {}
    for base in kind.__mro__:
        starts, title = vars(base).get("groups", {}), ""
        for name in inspect.get_annotations(base):
            titles[name] = title = starts.get(name, title)
    return titles


def _texts(kind: Any) -> dict[str, str]:
    """The docstring of each field."""
    texts = {}
    for base in reversed(kind.__mro__):
        if "__dataclass_fields__" not in vars(base) or base.__module__ == "types":  # made, no file
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        for pair in itertools.pairwise(tree.body):  # type: ignore[attr-defined]
            match pair:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    texts[name] = _joined(text)
    return texts


def _joined(text: str) -> str:
    return " ".join(text.split())
