"""Losses in compiled form: φ(z, y) of a prediction z and a target y, f = (1/n) Σ φ((Zx)_i, y_i)."""

from __future__ import annotations

from mirrorflow.compiled.options import LOSS, pointer

__all__ = ["squared"]

SLOPE, CURVATURE = 0, 1


@pointer(LOSS)
def squared(z, y, out):
    """φ = ½(z − y)²: φ′ and φ″ in z."""
    for i in range(z.size):
        out[SLOPE, i] = z[i] - y[i]
        out[CURVATURE, i] = 1.0
