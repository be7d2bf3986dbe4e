"""The harness of the fuzz tests: every input of a stranger is refused in a sentence or right.

A target is a strategy and a check that says what became of a case, "refused" or "right" as a
rule. `fuzzed` makes it a test of two sizes: a short one in `make test`, a long one marked slow.
Both count their inputs, and what became of them: a check that never accepts proves nothing.
"""

from __future__ import annotations

import importlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirrorflow import InputError

LEAST = 20_000  # inputs of all long trials of the doors together
DOORS = "commands", "files", "results", "vision_files"  # where a stranger's words and files come in
LONGEST = 2500  # characters of a refusal
long_sizes: dict[str, int] = {}

Check = Callable[[Any, Path], str]


def fuzzed(
    cases: st.SearchStrategy[Any], quick: int, long: int, kinds: tuple[str, ...] | None = None
) -> Callable[[Check], Callable[..., None]]:
    """Make a test of a check: `quick` inputs, and `long` inputs marked slow, the same every time.

    Parameters
    ----------
    cases : strategy
    quick, long : int
        Numbers of inputs.
    kinds : tuple of str
        What must become of some of the inputs; "refused" and "right" by default.
    """
    wanted = ("refused", "right") if kinds is None else kinds

    def decorate(check: Check) -> Callable[..., None]:
        name = check.__name__  # type: ignore[attr-defined]
        long_sizes[f"{check.__module__}.{name}"] = long

        @pytest.mark.parametrize(
            "size", [quick, pytest.param(long, marks=pytest.mark.slow)], ids=["quick", "long"]
        )
        def test(size: int, tmp_path: Path) -> None:
            became: Counter[str] = Counter()

            @settings(
                max_examples=size,
                derandomize=True,
                database=None,
                deadline=None,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=cases)
            def trial(case: Any) -> None:
                with silent():
                    became[check(case, tmp_path)] += 1

            trial()
            assert became.total() >= size
            assert set(wanted) <= set(became), became

        test.__name__, test.__doc__ = name, check.__doc__
        return test

    return decorate


@contextmanager
def silent() -> Iterator[None]:
    """No warning may come from a stranger's input, but the one on n ≥ d."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Z has n = ")
        yield


def refused(error: InputError | str) -> str:
    """A refusal is one short line and says something."""
    text = str(error)
    assert text.endswith(".")
    assert text.isprintable(), text
    assert len(text) < LONGEST, text
    return "refused"


def damage() -> st.SearchStrategy[Callable[[bytes], bytes]]:
    """What can happen to a file: bits flipped, parts cut, repeated, moved, overwritten."""
    places = st.integers(0, 2**16)
    flips = st.lists(st.tuples(places, st.integers(0, 7)), min_size=1, max_size=3)
    parts = st.tuples(places, st.integers(1, 80))
    return st.one_of(
        flips.map(lambda found: lambda content: _flipped(content, found)),
        flips.map(lambda found: lambda content: _flipped(content, found)),
        places.map(lambda at: lambda content: content[: _at(content, at)]),
        parts.map(lambda part: lambda content: _without(content, *part)),
        parts.map(lambda part: lambda content: _repeated(content, *part)),
        st.tuples(places, st.binary(min_size=1, max_size=8)).map(
            lambda found: lambda content: _overwritten(content, *found)
        ),
        st.binary(max_size=9).map(lambda tail: lambda content: content + tail),
        st.binary(max_size=60).map(lambda random: lambda content: random),
    )


def some_damage() -> st.SearchStrategy[Callable[[bytes], bytes]]:
    """As `damage` to every third file; the others stay whole."""
    # not by one_of, which would take apart the kinds of damage and pick none as seldom as each
    kinds = {"whole": st.just(bytes), "damaged": damage()}
    return st.sampled_from(["whole", "whole", "damaged"]).flatmap(kinds.__getitem__)


def _at(content: bytes, place: int) -> int:
    return place % max(len(content), 1)


def _flipped(content: bytes, places: list[tuple[int, int]]) -> bytes:
    changed = bytearray(content)
    for place, bit in places:
        if changed:
            changed[_at(content, place)] ^= 1 << bit
    return bytes(changed)


def _without(content: bytes, place: int, size: int) -> bytes:
    at = _at(content, place)
    return content[:at] + content[at + size :]


def _repeated(content: bytes, place: int, size: int) -> bytes:
    at = _at(content, place)
    return content[: at + size] + content[at:]


def _overwritten(content: bytes, place: int, new: bytes) -> bytes:
    at = _at(content, place)
    return content[:at] + new + content[at + len(new) :]


# ---- the harness itself


def test_the_long_trials_of_the_doors_are_twenty_thousand_inputs():
    doors = tuple(importlib.import_module(f"test_fuzz_{door}").__name__ for door in DOORS)
    sizes = {name: size for name, size in long_sizes.items() if name.startswith(doors)}
    assert sum(sizes.values()) >= LEAST, sizes


@pytest.mark.parametrize("size", [1, 300])
def test_every_kind_of_damage_changes_a_file(size):
    content, seen = bytes(range(256))[:size], set()

    @settings(max_examples=300, derandomize=True, database=None)
    @given(change=damage())
    def trial(change: Callable[[bytes], bytes]) -> None:
        seen.add(change(content))
        change(b"")

    trial()
    assert len(seen) > min(size, 100)
    assert any(len(found) < size for found in seen)
    assert any(len(found) > size for found in seen)


def test_refusals_are_one_printable_line():
    assert refused("n must be at least 1, but it is 0.") == "refused"
    for text in ("", "no stop", "two\nlines.", "\x1b[31mred.", "x" * LONGEST + "."):
        with pytest.raises(AssertionError):
            refused(text)


def test_a_check_that_never_accepts_is_no_check(tmp_path):
    @fuzzed(st.integers(), 5, 0)
    def never(case: int, folder: Path) -> str:
        return "refused"

    del long_sizes[f"{__name__}.never"]
    with pytest.raises(AssertionError, match="refused"):
        never(5, tmp_path)
