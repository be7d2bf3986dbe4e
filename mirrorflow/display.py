"""Displays of problems and results: one line for `repr`, a table for notebooks."""

from __future__ import annotations

from html import escape
from typing import Any

__all__ = ["KINDS", "Displayed"]

KINDS: dict[str, type[Any]] = {}  # what is displayed, by name; all that a saved result may hold

LONGEST = 40  # characters of a value


class Displayed:
    """An object that shows its facts (what, sizes, status, worst residual), not its arrays.

    A subclass gives `_facts`, and, as a dataclass, `repr=False`.
    """

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        KINDS[cls.__name__] = cls

    def _facts(self) -> dict[str, Any]:
        raise NotImplementedError

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={_short(value)}" for name, value in self._facts().items())
        return f"{type(self).__name__}({facts})"

    def _repr_html_(self) -> str:
        facts, message = self._facts(), getattr(self, "message", None)
        if isinstance(message, str):
            facts["message"] = message
        rows = [f"<tr><th>{name}</th><td>{_cell(value)}</td></tr>" for name, value in facts.items()]
        return f"<table><caption>{type(self).__name__}</caption>{''.join(rows)}</table>"


def _short(value: Any) -> str:
    """A value in a few characters: numbers to three digits."""
    text = f"{value:.3g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _cell(value: Any) -> str:
    """A value as HTML: text in full, true and false as ✓ and ✗."""
    mark = "✗✓"[value] if isinstance(value, bool) else _short(value)
    return escape(value if isinstance(value, str) else mark)
