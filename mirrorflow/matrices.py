"""Matrices of a regression: what Z may be, dense or sparse, and the names of its columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.sparse

from mirrorflow.checks import InputError, brief, column_names, real_array
from mirrorflow.rowspace import Matrix, RowSpace

__all__ = ["LARGEST", "check_matrix", "check_row_space", "feature_names"]

LARGEST = 1e150  # squares still fit into float64


def check_row_space(space: RowSpace) -> RowSpace:
    least, largest = space.s.min(initial=1.0), np.abs(space.b).max(initial=0.0)
    if not (least >= 1 / LARGEST and largest <= LARGEST):
        raise InputError(
            f"Z must have singular values of at least {1 / LARGEST:g} and Zx = y a solution of at "
            f"most {LARGEST:g}, but they are {least:g} and {largest:g}; rescale Z or y."
        )
    return space


def check_matrix(Z: Any) -> Matrix:
    """Z checked and read-only. What can't be written to any more is taken as it is, uncopied."""
    if scipy.sparse.issparse(Z):
        return _sparse(Z)
    frozen = type(Z) is np.ndarray and Z.flags.owndata and not Z.flags.writeable
    usable = frozen and Z.dtype == np.float64 and Z.flags.c_contiguous and Z.ndim == 2 and Z.size
    if usable and max(Z.max(), -Z.min()) <= LARGEST:  # nan is not
        return Z
    return real_array("Z", Z, 2, LARGEST)


def feature_names(names: Iterable[str] | None, Z: Any) -> tuple[str, ...] | None:
    """The names given, or those of a DataFrame's columns where all are text."""
    if names is not None:
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise InputError(f"names must be a sequence of strings, but it is {brief(names)}.")
        return column_names("names", names)
    columns = getattr(Z, "columns", None)
    if columns is None or not all(isinstance(name, str) for name in columns):
        return None
    return column_names("Z", columns)


def _sparse(Z: Any) -> Matrix:
    """Z by rows, a copy whatever can be written to: duplicate entries are added up in place."""
    if Z.dtype.kind not in "fiub":
        raise InputError(f"Z must hold real numbers, but its dtype is {Z.dtype}.")
    if Z.ndim != 2:
        raise InputError(f"Z must have 2 axes, but its shape is {Z.shape}.")
    if 0 in Z.shape:
        raise InputError(f"Z must not be empty, but its shape is {Z.shape}.")
    try:
        copied = Z.astype(np.float64, copy=True)  # before anything is added up in 8 bits
        if hasattr(copied, "check_format"):
            copied.check_format(full_check=True)  # indices beyond the shape are not looked for
        rows = scipy.sparse.csr_array(copied)
    except (TypeError, ValueError) as error:
        raise InputError(f"Z must be a sparse matrix in good order ({error}).") from None
    rows.sum_duplicates()
    outside = ~(np.abs(rows.data) <= LARGEST)
    if outside.any():
        at = int(np.argmax(outside))
        i, j = int(np.searchsorted(rows.indptr, at, "right")) - 1, rows.indices[at]
        rule = f"at most {LARGEST:g} in size" if np.isfinite(rows.data[at]) else "finite"
        raise InputError(f"Z must be {rule}, but Z[{i}, {j}] is {rows.data[at]:g}.")
    rows.data.flags.writeable = False
    return rows
