"""Results of solvers: one line to show, a table, a file, and an error where one is wanted."""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from mirrorflow.checks import InputError
from mirrorflow.display import KINDS, Displayed
from mirrorflow.extras import require
from mirrorflow.runs.store.atomic import atomic_write
from mirrorflow.runs.untrusted import naming, read_arrays

if TYPE_CHECKING:
    import pandas

__all__ = ["Result", "ResultError"]

ABOUT = "about.json"  # numbers and text of a file, as one text array


class ResultError(RuntimeError):
    """What `raise_if_failed` raises: status and message of a result that is no success.

    Examples
    --------
    >>> raise ResultError("not_converged: give it more iterations")
    Traceback (most recent call last):
    mirrorflow.result.ResultError: not_converged: give it more iterations
    """


class Result(Displayed):
    """What a solver returns: a dataclass with `status`, `message` and `success`.

    A subclass names in `table` the arrays that `to_frame` puts side by side; the first one's
    entries are the rows.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> limit = mf.interpolator(problem, start, total=1.0)
    >>> isinstance(limit, Result), limit.success
    (True, True)
    """

    __slots__ = ()
    table: ClassVar[tuple[str, ...]] = ()

    if TYPE_CHECKING:

        @property
        def success(self) -> bool: ...

    def raise_if_failed(self) -> Self:
        """Return the result itself, if it is a success.

        Raises
        ------
        ResultError
            With the status and the message, if it is not.

        Examples
        --------
        >>> import mirrorflow as mf
        >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
        >>> mf.interpolator(problem, mf.Factors.pilot([0.0, 0.0]), 1.0).raise_if_failed().status
        'converged'
        """
        if not self.success:
            status, message = getattr(self, "status", ""), getattr(self, "message", "")
            raise ResultError(f"{type(self).__name__} {status}: {message}")
        return self

    def plot(self, ax: Any = None) -> Any:
        """Draw x: a path against its times or steps, a point by its coordinates.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; without it a new figure as wide as a column.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        InputError
            Without matplotlib, or if the result holds neither a path nor a point.

        Examples
        --------
        >>> import mirrorflow as mf
        >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
        >>> mf.gradient_flow(problem, start, mf.Constant(0.0), [0.0, 1.0]).plot().get_xlabel()
        'flow time $t$'
        """
        # by name: figures import what they draw
        return importlib.import_module("mirrorflow.plots.results").draw(self, ax)

    def to_frame(self) -> pandas.DataFrame:
        """Return the arrays side by side, a row for each time, step or coordinate.

        A column of a matrix is named after its number: x_0, x_1, …

        Raises
        ------
        InputError
            If pandas is missing.

        Examples
        --------
        >>> import mirrorflow as mf
        >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
        >>> flow = mf.gradient_flow(problem, mf.Factors.pilot([0.0, 0.0]), mf.Constant(0.0), [0, 9])
        >>> list(flow.to_frame())
        ['times', 'loss', 'total', 'x_0', 'x_1']
        """
        require(f"to_frame of {type(self).__name__}", "pandas")
        import pandas

        columns = {}
        for name in self.table:
            values = getattr(self, name)
            if np.ndim(values) == 1:
                columns[name] = values
            elif values is not None:
                columns |= {f"{name}_{j}": values[:, j] for j in range(values.shape[1])}
        return pandas.DataFrame(columns)

    def save(self, path: str | PathLike[str]) -> None:
        """Write an NPZ file that `load` reads: arrays, numbers and text, bit for bit.

        Raises
        ------
        InputError
            If it can't be written, or a part is a function of yours (`Custom`).
        """
        arrays: dict[str, np.ndarray] = {}
        about = json.dumps(_taken_apart(self, "", arrays))
        stream = io.BytesIO()
        np.savez_compressed(stream, **{**arrays, ABOUT: np.array([about])})  # type: ignore[arg-type]
        atomic_write(Path(path), stream.getvalue())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a result of this class that `save` wrote; nothing in the file is executed.

        Raises
        ------
        InputError
            If the file is missing, damaged, or of another class.

        Examples
        --------
        >>> import mirrorflow as mf, tempfile, pathlib
        >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
        >>> limit = mf.interpolator(problem, mf.Factors.pilot([0.0, 0.0]), 1.0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     limit.save(pathlib.Path(folder, "limit.npz"))
        ...     again = mf.Interpolator.load(pathlib.Path(folder, "limit.npz"))
        >>> bool((again.x == limit.x).all())
        True
        """
        arrays = read_arrays(path, (ABOUT,), text=(ABOUT,), every=True)
        with naming(path):
            try:
                result = _put_together(json.loads(str(arrays[ABOUT].ravel()[0])), arrays)
            except InputError:
                raise
            except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
                raise InputError(f"it must be a file that save wrote, but {error!r}.") from None
            if not isinstance(result, cls):
                held = type(result).__name__
                raise InputError(f"it must hold a {cls.__name__}, but it holds a {held}.")
        return result


def _taken_apart(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """`value` as JSON; its arrays go to `arrays`, by their path in it."""
    if isinstance(value, np.ndarray):
        arrays[path] = value
        return {"array": path}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return {"tuple": [_taken_apart(v, f"{path}.{i}", arrays) for i, v in enumerate(value)]}
    kind = type(value).__name__
    if not dataclasses.is_dataclass(value) or kind not in KINDS:
        raise InputError(f"a saved result must consist of arrays, but {path} is a {kind}.")
    parts = {}
    for field in dataclasses.fields(value):
        inner = f"{path}.{field.name}".lstrip(".")
        parts[field.name] = _taken_apart(getattr(value, field.name), inner, arrays)
    return {"kind": kind, "parts": parts}


def _put_together(about: Any, arrays: dict[str, np.ndarray]) -> Any:
    """What `_taken_apart` took apart: the fields as they were, then the kind's own checks."""
    if not isinstance(about, dict):
        return about
    if "array" in about:
        return arrays[about["array"]]
    if "tuple" in about:
        return tuple(_put_together(part, arrays) for part in about["tuple"])
    kind = KINDS[about["kind"]]
    result = object.__new__(kind)
    for field in dataclasses.fields(kind):
        object.__setattr__(result, field.name, _put_together(about["parts"][field.name], arrays))
    getattr(result, "__post_init__", lambda: None)()
    return result
