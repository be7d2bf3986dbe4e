"""What a result folder says of itself, taken from its manifest with nothing believed."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrorflow.runs.report.text import plain
from mirrorflow.runs.store import load, read_manifest, split
from mirrorflow.runs.untrusted import png_description, read_png

if TYPE_CHECKING:
    import pandas

__all__ = ["Claim", "Contents", "Figure"]

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\.png")
LARGEST_FIGURES = 3 * 2**20  # bytes of all figures; a page stays below 5 MB with them
ENTRIES = 500  # of any list


@dataclass(frozen=True, slots=True)
class Claim:
    """One line of the verdicts; numbers that are none are NaN."""

    claim: str
    trials: str
    value: float
    bound: float
    verdict: str
    expected: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """A PNG file that is the one which the manifest names; sides in pixels.

    `about` is what it says of itself, the setting it was drawn in; it may be empty.
    """

    name: str
    content: bytes
    width: int
    height: int
    about: str

    @property
    def base64(self) -> str:
        return base64.b64encode(self.content).decode()


@dataclass(frozen=True)
class Contents:
    """A folder's manifest, rows and figures.

    Attributes
    ----------
    rows, failed : DataFrame
        Of runs that finished, and of runs that failed; see `mirrorflow.results.split`.
    left_out : list of str
        Sentences on figures that are not shown.
    """

    folder: str
    manifest: dict[str, Any]
    rows: pandas.DataFrame
    failed: pandas.DataFrame
    figures: list[Figure]
    left_out: list[str]

    @classmethod
    def of(cls, folder: Path) -> Contents:
        """Read a folder.

        Raises
        ------
        InputError
            If it holds no whole rows and manifest.
        """
        rows, failed = split(load(folder))
        manifest = read_manifest(folder)
        figures, left_out = _figures(folder, mapping(manifest.get("figures")))
        name = folder.resolve().name
        return cls(name, manifest, rows, failed, figures, left_out)

    def text(self, name: str) -> str:
        """An entry of the manifest as text; empty where there is none."""
        value = self.manifest.get(name)
        return value if isinstance(value, str) else ""

    @property
    def title(self) -> str:
        return self.text("title") or self.folder

    @property
    def claims(self) -> list[Claim]:
        entries = mapping(self.manifest.get("claims")).get("claims")
        claims = []
        for entry in map(mapping, listing(entries)):
            claim, trials, verdict = (plain(entry.get(n)) for n in ("claim", "trials", "verdict"))
            value, bound = number(entry.get("value")), number(entry.get("bound"))
            expected = entry.get("expected") is True
            claims.append(Claim(claim, trials, value, bound, verdict, expected))
        return claims

    @property
    def note(self) -> str:
        note = mapping(self.manifest.get("claims")).get("note")
        return note if isinstance(note, str) else ""

    @property
    def remarks(self) -> list[str]:
        return [plain(entry) for entry in listing(self.manifest.get("remarks"))]

    @property
    def summary(self) -> dict[str, Any]:
        """Title, headings and rows of a table of numbers; empty where there is none."""
        summary = mapping(self.manifest.get("summary"))
        headings = listing(summary.get("headings"))
        width = len(headings)
        rows = [listing(row)[:width] for row in listing(summary.get("rows"))]
        filled = [row + [""] * (width - len(row)) for row in rows]
        table = {"title": summary.get("title"), "headings": headings, "rows": filled}
        return table if headings else {}

    @property
    def facts(self) -> list[str]:
        """How many rows, when written, from which commit."""
        environment = mapping(self.manifest.get("environment"))
        facts = [f"{len(self.rows)} rows"]
        if len(self.failed):
            facts.append(f"{len(self.failed)} failed runs")
        if self.text("written"):
            facts.append(f"written {self.text('written')[:40]}")
        commit = environment.get("git_commit")
        if isinstance(commit, str) and commit:
            changed = " with uncommitted changes" if environment.get("git_dirty") is True else ""
            facts.append(f"commit {commit[:12]}{changed}")
        return facts

    @property
    def environment(self) -> list[tuple[str, Any]]:
        """Facts on machine and code, then the packages' versions."""
        environment = dict(mapping(self.manifest.get("environment")))
        packages = mapping(environment.pop("packages", None))
        return [*list(environment.items())[:100], *list(packages.items())[:100]]

    def caption(self, figure: Figure) -> str:
        """Sentences on what a figure shows, in which setting."""
        setting = figure.about or self._setting
        return plain(f"{self.title}, {figure.name}. {setting}", 1000)

    @property
    def _setting(self) -> str:
        """The configuration as a sentence."""
        words = [f"{name} {plain(value, 40)}" for name, value in self.pairs("configuration")[:12]]
        settings = f" with {', '.join(words)}" if words else ""
        return f"Drawn from {len(self.rows)} rows{settings}."

    @property
    def digests(self) -> list[tuple[str, Any]]:
        """Files and their SHA-256."""
        return [*self.pairs("sha256"), *self.pairs("figures")]

    def pairs(self, name: str) -> list[tuple[str, Any]]:
        """A mapping of the manifest as pairs."""
        return list(mapping(self.manifest.get(name)).items())[:ENTRIES]


def mapping(value: Any) -> dict[str, Any]:
    """`value` if it is a mapping, or an empty one."""
    return value if isinstance(value, dict) else {}


def listing(value: Any) -> list[Any]:
    """The first entries of `value` if it is a list, or none."""
    return value[:ENTRIES] if isinstance(value, list) else []


def number(value: Any) -> float:
    """`value` as a float; NaN if it is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _figures(folder: Path, named: dict[str, Any]) -> tuple[list[Figure], list[str]]:
    """The PNG files among those named that are what the manifest says, up to a size."""
    figures, left_out, remaining = [], [], LARGEST_FIGURES
    for name, digest in list(named.items())[:ENTRIES]:
        if not name.endswith(".png"):
            continue
        label = plain(name, 100)
        if not NAME.fullmatch(name):
            left_out.append(f"{label} is no plain name of a PNG file.")
            continue
        png = read_png(folder / name, digest, 16 * LARGEST_FIGURES)
        if png is None:
            left_out.append(f"{label} is not the PNG file that the manifest describes.")
        elif len(png[0]) > remaining:
            left_out.append(f"{label} has {len(png[0])} bytes, too many for this page.")
        else:
            figures.append(Figure(name, *png, png_description(png[0])))
            remaining -= len(png[0])
    return figures, left_out
