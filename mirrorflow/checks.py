"""Validation at the boundary: one sentence that names the argument, its value and the rule.

Everything past the public constructors and functions may assume checked, read-only
float64 arrays; nothing deeper validates again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["InputError"]

Array = NDArray[np.float64]
SHORTEST = 1e-50  # of positive times, in flow time
LATEST = 1.0 / SHORTEST  # what never ends must have a total until then
FLOAT_MAX = float(np.finfo(float).max)


class InputError(ValueError):
    """A value from outside breaks a rule; the message names argument, value and rule.

    It is one line of printable text, whatever the value was: names and contents of a stranger's
    files can neither break it nor steer a terminal.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> mf.Constant(-1.0)
    Traceback (most recent call last):
    mirrorflow.checks.InputError: alpha must be a finite number at least 0, but it is -1.0.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """The text as one line that steers no terminal."""
    return "".join(map(_printable, text))


def _printable(letter: str) -> str:
    if letter.isprintable():
        return letter
    return " " if letter.isspace() else "\N{REPLACEMENT CHARACTER}"


def real_array(name: str, value: ArrayLike, ndim: int, largest: float = FLOAT_MAX) -> Array:
    """Return `value` as a read-only, finite float64 array with `ndim` axes, none empty.

    Where a vector is wanted an (n, 1) column is one, of a DataFrame too.
    """
    given = _given(name, value, ndim)
    if given.dtype.kind not in "fiub":
        raise InputError(f"{name} must hold real numbers, but its dtype is {given.dtype}.")
    if given.ndim != ndim:
        axes = "1 axis" if ndim == 1 else f"{ndim} axes"
        raise InputError(f"{name} must have {axes}, but its shape is {given.shape}.")
    if given.size == 0:
        raise InputError(f"{name} must not be empty, but its shape is {given.shape}.")
    with np.errstate(over="ignore"):  # of longer floats; what is too large is infinite then
        array = np.array(given, dtype=np.float64, order="C")
    if not max(array.max(), -array.min()) <= largest:  # nan neither; |array| would be a copy
        at = tuple(np.argwhere(~(np.abs(array) <= largest))[0].tolist())
        rule = f"at most {largest:g} in size" if np.isfinite(array[at]) else "finite"
        raise InputError(f"{name} must be {rule}, but {_entry(name, value, at)} is {array[at]:g}.")
    array.flags.writeable = False
    return array


def _given(name: str, value: Any, ndim: int) -> np.ndarray:
    """Return `value` as an array of any dtype; refuse what NumPy would take for something else."""
    if hasattr(value, "toarray"):
        raise InputError(f"{name} must be dense, but it is sparse; give {name}.toarray().")
    if "bfloat16" in str(getattr(value, "dtype", "")):
        raise InputError(f"{name} must not be bfloat16, which NumPy lacks; convert it to float32.")
    parts = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(part, np.ma.MaskedArray) and np.ma.is_masked(part) for part in parts):
        raise InputError(
            f"{name} must not have masked entries, for which no number stands; leave their rows "
            "out, or fill them."
        )
    if callable(getattr(value, "detach", None)):  # of torch: the values without the gradient
        value = value.detach()
    try:
        given = np.asarray(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(f"{name} must be a rectangular array of real numbers ({error}).") from None
    if given.dtype == object:  # numbers, perhaps: a DataFrame whose columns differ in dtype
        for at, entry in np.ndenumerate(given):
            real: Any = entry if isinstance(entry, Real | np.bool_) else np.inf
            if abs(real) > FLOAT_MAX:
                fault = f"its dtype is object and {_entry(name, value, at)} is {brief(entry)}"
                raise InputError(f"{name} must hold real numbers, but {fault}.")
        given = given.astype(np.float64)
    return given[:, 0] if ndim == 1 and given.ndim == 2 and given.shape[1] == 1 else given


def _entry(name: str, value: Any, at: tuple[int, ...]) -> str:
    """Name of an entry: by its labels where pandas has some, else by its indices."""
    if not at or not hasattr(value, "iloc"):
        return f"{name}[{', '.join(map(str, at))}]" if at else "it"
    row = f"row {str(value.index[at[0]])[:40]}"
    columns = getattr(value, "columns", None)
    return row if columns is None else f"{row}, column {str(columns[(*at, 0)[1]])[:40]!r}"


def column_names(of: str, names: Iterable[Any]) -> tuple[str, ...]:
    """Return the names of a table's columns, each there and each once; `of` names the table.

    A column without a name is an index that a program has written, and no feature.
    """
    numbers: dict[str, int] = {}
    for j, given in enumerate(names, 1):
        name = str(given).strip()
        if not name or name.startswith("Unnamed: "):  # pandas' name for one that has none
            raise InputError(
                f"{of} must have a name for each column, but column {j} has none ({name!r}); name "
                "it, or if it only numbers the rows leave it out (pandas: to_csv(index=False), "
                "read_csv(index_col=0); R: write.csv(row.names = FALSE))."
            )
        if numbers.setdefault(name, j) != j:
            twice = f"columns {numbers[name]} and {j} are both {name[:40]!r}"
            raise InputError(f"{of} must name each column once, but {twice}; rename one.")
    return tuple(numbers)


def brief(value: Any) -> str:
    """A value for a message of one line, at most 100 characters."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # a whole number of thousands of digits
        text = f"a {type(value).__name__} too long to show"
    return text if len(text) <= 100 else f"{text[:100]}…"


def vector(name: str, value: ArrayLike, size: int, of: str, largest: float = FLOAT_MAX) -> Array:
    """Return `value` as a checked vector with `size` entries; `of` says where `size` is from."""
    array = real_array(name, value, 1, largest)
    if array.size != size:
        entries = "1 entry" if size == 1 else f"{size} entries"
        raise InputError(f"{name} must have {entries} ({of}), but it has {array.size}.")
    return array


def meant(name: str, names: Iterable[str]) -> str:
    """A question after the sentence on a name that is none of `names`, where one is near it.

    >>> meant("hom", ["home", "away"])
    ' Did you mean home?'
    """
    near = get_close_matches(name, names, 1)
    return f" Did you mean {near[0]}?" if near else ""


def refused_file(error: OSError) -> str:
    """The sentence on a file that the system refuses, such as one with too long a name."""
    return f"{str(error.filename)[:200]} can't be used ({error.strerror})."


def number(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    infinite: bool = False,
) -> float:
    """Return `value` as a float in [low, high] ((low, high] where `open_low`)."""
    try:
        if isinstance(value, str | bytes):  # float() would read it
            raise TypeError
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{name} must be a number, but it is {brief(value)}.") from None
    inside = (result > low if open_low else result >= low) and result <= high
    if math.isnan(result) or not inside or (math.isinf(result) and not infinite):
        finite = "" if infinite else "finite "
        lower = "" if low == -math.inf else f" {'above' if open_low else 'at least'} {low:g}"
        upper = "" if high == math.inf else f" {'and ' if lower else ''}at most {high:g}"
        rule = f"{name} must be a {finite}number{lower}{upper}"
        raise InputError(f"{rule}, but it is {brief(value)}.")
    return result


def instance(name: str, value: Any, *kinds: type) -> None:
    """Refuse what is none of `kinds`."""
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise InputError(f"{name} must be of the type {names}, but it is {brief(value)}.")


def whole(name: str, value: Any, low: int, high: float = math.inf) -> int:
    """Return `value` as an int in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputError(f"{name} must be a whole number, but it is {brief(value)}.")
    if not low <= value <= high:
        upper = "" if high == math.inf else f" and at most {high:g}"
        raise InputError(f"{name} must be at least {low}{upper}, but it is {brief(int(value))}.")
    return int(value)


def ascending(name: str, value: ArrayLike, *, infinite_end: bool = False) -> Array:
    """Return times: non-negative, strictly ascending, finite (the last may be inf if allowed)."""
    given = _given(name, value, 1)
    if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "fiu":
        raise InputError(f"{name} must be a non-empty list of numbers, but it is {brief(value)}.")
    with np.errstate(over="ignore"):
        times = np.array(given, dtype=np.float64)
    if np.isnan(times).any() or times[0] < 0:
        raise InputError(f"{name} must be at least 0, but it holds {times[~(times >= 0)][0]}.")
    falls = times[1:] <= times[:-1]
    if falls.any():
        at = int(np.argmax(falls)) + 1
        raise InputError(
            f"{name} must ascend strictly, but {name}[{at}] = {times[at]:g} "
            f"follows {times[at - 1]:g}."
        )
    finite = times[np.isfinite(times) & (times > 0)]
    if finite.size and (finite[0] < SHORTEST or finite[-1] > LATEST):
        raise InputError(
            f"{name} must be 0 or between {SHORTEST:g} and {LATEST:g}, "
            f"but they run from {finite[0]:g} to {finite[-1]:g}."
        )
    if np.isinf(times[-1]) and not infinite_end:
        raise InputError(f"{name} must be finite, but its last entry is inf.")
    times.flags.writeable = False
    return times
