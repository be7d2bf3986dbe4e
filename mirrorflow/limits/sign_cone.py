"""Sign cone of a start: which coordinates can move, in which directions, and the Zx they give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.limits.columns import SignedColumns
from mirrorflow.limits.faces import cone_projection
from mirrorflow.limits.newton import Path, Solver
from mirrorflow.maps.base import MirrorMap, Potential
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.product import Factors
from mirrorflow.rowspace import RowSpace

__all__ = ["Mask", "SignCone", "factors_of"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class SignCone:
    """The equations Vx = b, ŷ = fit (n,), and the signs that x may have from a start, (d,) each.

    `changes` are a gain and a shift of m ⊙ w (see `HyperbolicEntropy.effective`).
    """

    start: MirrorMap
    space: RowSpace
    b: Array
    fit: Array
    positive: Mask
    negative: Mask
    status: str
    changes: tuple[Array, Array] | None = None

    @classmethod
    def of(
        cls,
        start: MirrorMap,
        space: RowSpace,
        fit: Array,
        changes: tuple[Array, Array] | None = None,
    ) -> SignCone:
        """All that the signs of a start allow, whatever the data."""
        status = "converged" if space.consistent else "inconsistent"
        return cls(start, space, space.b, fit, *start.signs, status, changes)

    @property
    def free(self) -> Mask:
        """Coordinates that may differ from 0."""
        return self.positive | self.negative

    @property
    def all_signs(self) -> bool:
        """Whether all coordinates can have both signs."""
        return bool((self.positive & self.negative).all())

    @property
    def signed(self) -> SignedColumns:
        """The columns that the signs allow."""
        plus, minus = np.flatnonzero(self.positive), np.flatnonzero(self.negative)
        return SignedColumns(self.space.basis, plus, minus)

    @property
    def weighted(self) -> SignedColumns:
        """The same over the weights t^± of A → ∞."""
        up, down = self.start.weights
        signed = self.signed
        scales = 1.0 / np.concatenate([up[signed.plus], down[signed.minus]])
        return SignedColumns(signed.basis, signed.plus, signed.minus, scales)

    def potential(self, total: float) -> HyperbolicEntropy | Potential:
        """The potential after total A; that of m ⊙ w is restricted to the allowed signs."""
        if not isinstance(self.start, Factors):
            return self.start.potential(total)
        entropy = self.start.potential(total)
        entropy = entropy if self.changes is None else entropy.effective(*self.changes)
        return entropy if self.all_signs else entropy.restricted(self.positive, self.negative)

    @property
    def parts(self) -> Array:
        """What the compiled map knows of the start, (…, d)."""
        potential = self.potential(0.0)
        known = potential if isinstance(potential, HyperbolicEntropy) else self.start
        return known.parts()

    def within(self) -> SignCone:
        """The part that fits the data: where the signs forbid Zx = ŷ, that nearest to ŷ."""
        both = self.positive & self.negative
        if both.all() or (
            both.any() and self.space.basis.left_factor(both).shape[1] == self.space.rank
        ):
            return self
        face, b, outside = cone_projection(self.signed, self.b, self.space.s)
        return self.restricted(
            face.support, b, "no_interpolator_in_sign_cone" if outside else self.status
        )

    def restricted(self, support: Mask, b: Array, status: str) -> SignCone:
        """Only the signed columns in `support`, with fit b."""
        positive, negative = (part > 0 for part in self.signed.split(support.astype(float)))
        fit = self.fit if b is self.b else self.space.fit(b)
        return SignCone(self.start, self.space, b, fit, positive, negative, status, self.changes)

    def follow(self, solver: Solver, totals: Array, kappa: Array | None = None) -> Path:
        """κ at each total, within the range of the allowed columns; nan where there is none."""
        b, free, U = self.b, self.free, None
        if not free.all():
            U = self.space.basis.left_factor(free)
            solver, b = Solver(self.space.basis.rotated(U.T)), U.T @ b
            kappa = None if kappa is None else U.T @ kappa
        run = self.start, self.parts, b, free
        path = solver(*run, totals, kappa)
        for t in range(len(path.kappa), totals.size):  # the path was lost: solve from the start
            alone = solver(*run, totals[t : t + 1])
            row = alone.kappa if len(alone.kappa) else np.full((1, b.size), np.nan)
            path = Path(np.append(path.kappa, row, 0), path.counts)
            path.counts[t] += alone.counts[0]
        return path if U is None else Path(path.kappa @ U.T, path.counts)


def factors_of(runs: list[SignCone], p: Array, q: Array) -> Array:
    """m and w, (L, 2, d), of p = ½u² and q = ½v², (L, d) each, with the signs of the starts."""
    m, w = (np.array([getattr(run.start, name) for run in runs]) for name in "mw")
    u, v = np.copysign(np.sqrt(p), m + w), np.copysign(np.sqrt(q), m - w)
    return np.stack([u + v, u - v], axis=1)
