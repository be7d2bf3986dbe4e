"""Text and numbers for a page: of limited length, without characters that act."""

from __future__ import annotations

import unicodedata
from typing import Any

__all__ = ["counted", "number", "plain"]

LONGEST = 2000  # characters of one text
LONGEST_LIST = 50  # entries
DEEPEST = 3  # lists within lists
ACTING = {"Cc", "Cf", "Cs", "Co", "Cn"}  # control, direction, surrogates: they change the rest


def plain(value: Any, longest: int = LONGEST) -> str:
    """Any value of a manifest or a row as one text, at most `longest` characters.

    Characters that control a terminal, the direction of writing or an encoding become U+FFFD.
    """
    text = _text(value, longest, DEEPEST)
    short = text[:longest] + ("…" if len(text) > longest else "")
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(letter) in ACTING and letter not in "\n\t"
        else letter
        for letter in short
    )


def _text(value: Any, longest: int, depth: int) -> str:
    match value:
        case str():
            return value
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return str(value)
        case float():
            return f"{value:.6g}"
        case list() | tuple() | dict() if depth == 0:
            return "…"
        case dict():
            items = list(value.items())[:LONGEST_LIST]
            words = [f"{name}: {_text(item, longest, depth - 1)}" for name, item in items]
        case list() | tuple():
            words = [_text(item, longest, depth - 1) for item in value[:LONGEST_LIST]]
        case _:
            return str(value)
    more = [f"… ({len(value)} in all)"] if len(value) > LONGEST_LIST else []
    return ", ".join(word[: longest + 1] for word in words + more)


def number(value: float, form: str) -> str:
    """A number in a format of Python's; – for NaN, ∞ for infinity."""
    if value != value:
        return "–"
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "−∞"
    return format(value, form).replace("-", "−")


def counted(count: int, one: str, more: str) -> str:
    """A count with its noun: 1 run, 2 runs."""
    return f"{int(count)} {one if count == 1 else more}"
