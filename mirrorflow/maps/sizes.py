"""Sizes of parameters whose powers fit into floats."""

from __future__ import annotations

import numpy as np

from mirrorflow.checks import Array, InputError

__all__ = ["check_sizes"]


def check_sizes(name: str, values: Array, degree: float, *, zero: bool = True) -> None:
    """Refuse parameters whose powers up to θ^{±2L} leave the range of floats; 0 if not `zero`."""
    largest = 10.0 ** (150.0 / degree)
    sizes = np.abs(values) if zero else values
    fits = (zero & (sizes == 0)) | ((sizes >= 1.0 / largest) & (sizes <= largest))
    if not fits.all():
        at = tuple(np.argwhere(~fits)[0].tolist())
        rule = "0 or in size between" if zero else "between"
        raise InputError(
            f"{name} must be {rule} {1.0 / largest:.1e} and {largest:.1e} at degree {degree:g}, "
            f"but {name}[{', '.join(map(str, at))}] is {values[at]:g}."
        )
