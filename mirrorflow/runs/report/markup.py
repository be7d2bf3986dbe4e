"""Text and numbers for HTML: escaped, of limited length, without characters that act."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from typing import Any

__all__ = ["code", "escaped", "number", "plain", "table"]

LONGEST = 2000  # characters of one text
LONGEST_LIST = 50  # entries
DEEPEST = 3  # lists within lists
ACTING = {"Cc", "Cf", "Cs", "Co", "Cn"}  # control, direction, surrogates: they change the rest


def plain(value: Any, longest: int = LONGEST) -> str:
    """Any value of a manifest or a row as one text, at most `longest` characters.

    Characters that control a terminal, the direction of writing or an encoding become U+FFFD.
    """
    text = _said(value, longest, DEEPEST)
    cut = text[:longest] + ("…" if len(text) > longest else "")
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(letter) in ACTING and letter not in "\n\t"
        else letter
        for letter in cut
    )


def _said(value: Any, longest: int, depth: int) -> str:
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
            words = [f"{name}: {_said(item, longest, depth - 1)}" for name, item in items]
        case list() | tuple():
            words = [_said(item, longest, depth - 1) for item in value[:LONGEST_LIST]]
        case _:
            return str(value)
    more = [f"… ({len(value)} in all)"] if len(value) > LONGEST_LIST else []
    return ", ".join(word[: longest + 1] for word in words + more)


def escaped(value: Any, longest: int = LONGEST) -> str:
    """`plain`, escaped for HTML, also within quotes."""
    return html.escape(plain(value, longest), quote=True)


def number(value: float, form: str) -> str:
    """A number in a format of Python's; – for NaN, ∞ for infinity."""
    if value != value:
        return "–"
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "−∞"
    return format(value, form).replace("-", "−")


def code(value: Any) -> str:
    """Text as a program's, lines kept."""
    return f"<pre><code>{escaped(value, 100_000)}</code></pre>"


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], name: str
) -> str:
    """A table that scrolls by itself where it is wide.

    Parameters
    ----------
    headings, rows : of markup
        Escaped by the caller; each row begins with the cell that names it.
    numeric : sequence of bool
        Which columns align to the right.
    name : str
        Of the table, for those who don't see it.
    """
    kinds = [' class="n"' if right else "" for right in numeric]
    head = "".join(
        f'<th scope="col"{kind}>{text}</th>' for text, kind in zip(headings, kinds, strict=True)
    )
    body = []
    for row in rows:
        first, *rest = zip(row, kinds, strict=True)
        cells = "".join(f"<td{kind}>{text}</td>" for text, kind in rest)
        body.append(f'<tr><th scope="row"{first[1]}>{first[0]}</th>{cells}</tr>')
    label = html.escape(name, quote=True)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{label}"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody></table></div>"
    )
