r"""Limits of the flow: argmin of R_A over {Zx = y} for A ∈ [0, ∞], and the LASSO.

For finite A and any mirror map the answer is x = e^{−δA}X(½Zᵀν) with ν ∈ Rⁿ from a smooth concave
dual (Theorem 2.3; see `newton`). For A = ∞ and m ⊙ w, 2R_a = 4A‖x‖₁ + KL + const makes it, among
all minimum-L1 interpolators, the one that minimises KL against ½u₀², ½v₀². A penalty that never
fades, α_∞ > 0, leads to the LASSO min f(x) + 2α_∞‖x‖₁ and the same choice among its solutions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mirrorflow.checks import Array, InputError, ascending, number, vector
from mirrorflow.limits.columns import SignedColumns
from mirrorflow.limits.faces import Face, cone_projection, lasso_face, minimum_l1_face
from mirrorflow.limits.newton import Path, Solver
from mirrorflow.limits.nonnegative import FaceError
from mirrorflow.limits.optimality import (
    MESSAGES,
    Interpolator,
    Points,
    failed,
    proven,
    smooth_proofs,
)
from mirrorflow.limits.targets import targets
from mirrorflow.losses import Squared
from mirrorflow.maps.base import MirrorMap, Potential, check_pair
from mirrorflow.maps.entropy import HyperbolicEntropy, signed_mass
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.rowspace import RowSpace
from mirrorflow.threads import on_one_thread, spread

__all__ = ["interpolator", "interpolators", "lasso_limit"]

MOST = 1e9  # beyond it, exponents 4A round to more than 1e-6
PARTS = "log_p", "log_q", "c"
ENTRIES = 2**16  # most numbers (512 kB) in one array of a block of limits
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class _Reach:
    """What the signs of a start leave: the fit b, and which parts of which coordinates."""

    start: MirrorMap
    space: RowSpace
    b: Array
    fit: Array  # ŷ, (n,)
    positive: Mask
    negative: Mask
    status: str
    entropy: HyperbolicEntropy | None  # of m ⊙ w at A = 0, with what is left

    @property
    def free(self) -> Mask:
        """Coordinates that may differ from 0."""
        return self.positive | self.negative

    @property
    def signed(self) -> SignedColumns:
        """The columns that the signs leave."""
        plus, minus = np.flatnonzero(self.positive), np.flatnonzero(self.negative)
        return SignedColumns(self.space.basis, plus, minus)

    @property
    def parts(self) -> Array:
        """What the compiled map knows of that."""
        return self.start.parts() if self.entropy is None else self.entropy.parts()

    def restricted(self, support: Mask, b: Array, status: str) -> _Reach:
        """Only the signed columns in `support`, with fit b."""
        positive, negative = (part > 0 for part in self.signed.split(support.astype(float)))
        entropy = None if self.entropy is None else self.entropy.restricted(positive, negative)
        fit = self.fit if b is self.b else self.space.fit(b)
        return _Reach(self.start, self.space, b, fit, positive, negative, status, entropy)

    def follow(self, solver: Solver, totals: Array, kappa: Array | None = None) -> Path:
        """κ at each total, within the range of the columns left; nan where it was not found."""
        b, free, U = self.b, self.free, None
        if not free.all():
            U = self.space.basis.left_factor(free)
            solver, b = Solver(self.space.basis.rotated(U.T)), U.T @ b
            kappa = None if kappa is None else U.T @ kappa
        run = self.start, self.parts, b, free
        path = solver(*run, totals, kappa)
        for t in range(len(path.kappa), totals.size):  # lost on the way: from the start again
            alone = solver(*run, totals[t : t + 1])
            found = alone.kappa if len(alone.kappa) else np.full((1, b.size), np.nan)
            path = Path(np.append(path.kappa, found, 0), path.counts)
            path.counts[t] += alone.counts[0]
        return path if U is None else Path(path.kappa @ U.T, path.counts)


def _all_parts(
    start: MirrorMap, space: RowSpace, fit: Array, changes: tuple[Array, Array] | None = None
) -> _Reach:
    """What the signs of a start alone leave; of m ⊙ w with a gain and a shift, if any."""
    entropy = start.potential() if isinstance(start, Factors) else None
    if entropy is None:
        positive, negative = start.signs
    else:
        entropy = entropy if changes is None else entropy.effective(*changes)
        positive, negative = np.isfinite(entropy.log_p), np.isfinite(entropy.log_q)
    status = "converged" if space.consistent else "inconsistent"
    return _Reach(start, space, space.b, fit, positive, negative, status, entropy)


def _reach(*arguments: Any) -> _Reach:
    """What its signs and the data leave of a start; arguments as above."""
    reach = _all_parts(*arguments)
    space = reach.space
    both = reach.positive & reach.negative
    if both.all() or (both.any() and space.basis.left_factor(both).shape[1] == space.rank):
        return reach
    face, fit, outside = cone_projection(reach.signed, space.b, space.s)
    status = "no_interpolator_in_sign_cone" if outside else reach.status
    return reach.restricted(face.support, fit, status)


@on_one_thread
def interpolator(
    problem: Regression,
    start: MirrorMap,
    total: float,
    *,
    gain: ArrayLike | None = None,
    shift: ArrayLike | None = None,
) -> Interpolator:
    """argmin {R_A(x) : Zx = y} after total A, for every A from 0 to ∞ (Theorem 2.3).

    Where the loss is another than the squared one, y is what minimises it.

    Parameters
    ----------
    problem : Regression
    start : Factors, Powers, DeepFactors, …
        θ₀, with as many coordinates as the problem.
    total : float in [0, inf]
        A = ∫α. inf, for Factors: the limit of A → ∞, a minimum-L1 interpolator.
    gain, shift : (d,) floats, optional
        Of Factors, Λ and r: argmin {R_a(x) + ⟨r, x⟩ : Zx = y} with a = a₀e^{−4A−Λ}, where discrete
        steps, momentum or noise lead (`discrete_limit`). For A = ∞ they only choose among several
        minima.

    Returns
    -------
    Interpolator

    Raises
    ------
    InputError
        If `start` doesn't fit `problem`, `total` is negative or nan, or decay has no law for this
        start; if the loss has no minimum on these data.

    Examples
    --------
    >>> from mirrorflow import Factors
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> interpolator(problem, Factors.pilot([0.0, 0.0]), np.inf).x
    array([0., 1.])
    """
    total = number("total", total, 0.0, infinite=True)
    if MOST < total < math.inf:
        raise InputError(f"total must be at most {MOST:g} or inf, but it is {total:g}.")
    check_pair(problem, start)
    changes = None
    if gain is not None or shift is not None:
        if not isinstance(start, Factors):
            raise InputError(f"gain and shift are for Factors, not for {type(start).__name__}.")
        given = {"gain": gain, "shift": shift}
        changes = tuple(
            vector(
                name,
                np.zeros(problem.d) if value is None else value,
                problem.d,
                "one for each coordinate",
            )
            for name, value in given.items()
        )
    return _interpolators(problem, [start], np.array([total]), "total", changes)[0][0]


@on_one_thread
def interpolators(
    problem: Regression, starts: Sequence[MirrorMap], totals: ArrayLike
) -> list[list[Interpolator]]:
    """`interpolator` of every run after every total A, on all cores.

    A run is the same to the bit in any list, in any order and on any number of cores. Each total
    begins at the solution at the total before.

    Parameters
    ----------
    problem : Regression
    starts : sequence of Factors, Powers, DeepFactors, …
        θ₀ of each run.
    totals : (T,) floats in [0, inf], strictly ascending
        A = ∫α.

    Returns
    -------
    list of lists of Interpolator
        One list for each run, with one limit for each total. Arrays are views of a block of
        limits: copy what is kept of them when the rest is not.

    Raises
    ------
    InputError
        As `interpolator`, and if `totals` are out of order or range.

    Examples
    --------
    >>> from mirrorflow import Factors
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> path = interpolators(problem, [Factors.pilot([0.0, 0.0])], [0.0, np.inf])[0]
    >>> [bool(abs(problem.Z @ limit.x - 2.0) < 1e-15) for limit in path]
    [True, True]
    """
    times = ascending("totals", totals, infinite_end=True)
    finite = times[np.isfinite(times)]
    if finite.size and finite[-1] > MOST:
        raise InputError(f"totals must be at most {MOST:g} or inf, but one is {finite[-1]:g}.")
    if isinstance(starts, MirrorMap):
        raise InputError(
            f"starts must be a list, but they are one {type(starts).__name__}; write [start]."
        )
    return _interpolators(problem, list(starts), times, "totals")


def _interpolators(
    problem: Regression, starts: list[MirrorMap], totals: Array, what: str, changes: Any = None
) -> list[list[Interpolator]]:
    for start in starts:
        check_pair(problem, start)
        if math.isinf(totals[-1]) and not isinstance(start, Factors):
            raise InputError(
                f"{what} may be inf for Factors alone, but the start is {type(start).__name__}."
            )
        start.check_decay(what, float(totals[-1]))
    if not starts:
        return []
    target, runs = targets(problem), list[_Reach]()
    paths: list[list[Interpolator]] = [[] for _ in starts]
    for start, path in zip(starts, paths, strict=True):
        try:
            runs.append(_reach(start, *target, changes))
        except FaceError as error:
            path += [failed(problem, start, str(error))] * totals.size
    open_paths = [path for path in paths if not path]
    finite = totals[np.isfinite(totals)]
    if finite.size and runs:
        _add_finite(problem, runs, finite, open_paths)
    if finite.size < totals.size:
        _add_endless(problem, runs, open_paths)
    return paths


def _add_finite(
    problem: Regression, runs: list[_Reach], totals: Array, paths: list[list[Interpolator]]
) -> None:
    solver = Solver(runs[0].space.basis)
    solved = spread(lambda i: runs[i].follow(solver, totals), len(runs))
    # runs of m ⊙ w with all their parts are looked at together, other maps one by one
    groups: dict[object, list[tuple[int, int]]] = {}
    for i, run in enumerate(runs):
        whole = run.entropy is not None and bool((run.positive & run.negative).all())
        for t in range(totals.size):
            key: object = "whole" if whole else i if run.entropy is not None else (i, t)
            groups.setdefault(key, []).append((i, t))
    size = max(1, ENTRIES // problem.d)
    for group in groups.values():
        for first in range(0, len(group), size):
            places = group[first : first + size]
            limits = _smooth(problem, runs, totals, solved, places)
            for (i, _), limit in zip(places, limits, strict=True):
                paths[i].append(limit)


def _smooth(
    problem: Regression,
    runs: list[_Reach],
    totals: Array,
    solved: list[Path],
    places: list[tuple[int, int]],
) -> list[Interpolator]:
    """The limits of runs i at totals t, for (i, t) in `places`."""
    members, total = [runs[i] for i, _ in places], totals[[t for _, t in places]]
    reach, kappa = members[0], np.array([solved[i].kappa[t] for i, t in places])
    counts = np.array([solved[i].counts[t] for i, t in places])
    points = None
    if np.isfinite(kappa).all():
        mu, sure = reach.space.basis.rmatvec(kappa), np.full(len(places), True)
        potential: HyperbolicEntropy | Potential
        with np.errstate(over="ignore", invalid="ignore"):
            if reach.entropy is not None:
                potential, p, q, x = _masses(members, total, mu)
                points = _points(members, p, q, x, 2.0 * kappa, counts, sure)
            else:
                potential, free = reach.start.potential(float(total[0])), reach.free
                p, q = (part[None] * free for part in potential.split(mu[0]))
                x = potential.inverse_gradient(mu[0])[None] * free
                theta, metric = reach.start.parameters(total, mu), potential.metric(mu[0])[None]
                points = Points(p, q, x, theta * free, metric * free, 2.0 * kappa, counts, sure)
    if points is None or not np.isfinite(points.x).all():
        if len(places) > 1:
            return [_smooth(problem, runs, totals, solved, [place])[0] for place in places]
        return [failed(problem, reach.start, MESSAGES["not_converged"])]
    counted = np.concatenate([member.free for member in members])
    proofs = smooth_proofs(problem, potential, reach.b, points, counted)
    return proven(problem, points, *proofs, reach.fit, reach.status)


def _masses(
    members: list[_Reach], total: Array, mu: Array
) -> tuple[HyperbolicEntropy, Array, Array, Array]:
    """The potentials of m ⊙ w one after the other, and p, q and x at μ, (L, d) each."""
    entropies = [member.entropy for member in members]
    log_p, log_q, c = (np.array([getattr(e, name) for e in entropies]) for name in PARTS)
    decay = 4.0 * total[:, None]
    potential = HyperbolicEntropy((log_p - decay).ravel(), (log_q - decay).ravel(), c.ravel())
    p, q = (part.reshape(mu.shape) for part in potential.split(mu.ravel()))
    return potential, p, q, signed_mass(p, q, c + 2.0 * mu)


def _points(
    members: list[_Reach],
    p: Array,
    q: Array,
    x: Array,
    kappa: Array,
    counts: NDArray[np.int64],
    sure: Mask,
) -> Points:
    """With m and w of p = ½u², q = ½v²."""
    m, w = np.array([member.start.theta for member in members]).swapaxes(0, 1)
    u, v = np.copysign(np.sqrt(p), m + w), np.copysign(np.sqrt(q), m - w)
    return Points(p, q, x, np.stack([u + v, u - v], 1), 2.0 * (p + q), kappa, counts, sure)


def _add_endless(problem: Regression, runs: list[_Reach], paths: list[list[Interpolator]]) -> None:
    """The limits of A → ∞; those without balanced coordinates share a face."""
    shared: Face | None = None
    for run, path in zip(runs, paths, strict=True):
        whole = bool((run.positive & run.negative).all())
        try:
            face = shared if whole and shared else minimum_l1_face(run.signed, run.b)
            shared = face if whole else shared
            points = _on_face(run, face)
        except FaceError as error:
            path.append(failed(problem, run.start, str(error)))
            continue
        gap = abs(float(np.sum(points.p + points.q) - run.b @ face.dual))
        path.append(_polyhedral(problem, run, points, gap))


@on_one_thread
def lasso_limit(problem: Regression, start: MirrorMap, alpha: float) -> Interpolator:
    """The limit under a penalty that stays: min 1/(2n)‖Zx − y‖² + 2α‖x‖₁.

    Among several LASSO solutions the one that minimises KL against ½u₀², ½v₀² is returned, as
    the flow does; balanced coordinates keep their signs.

    Parameters
    ----------
    problem : Regression
        With the squared loss.
    start : Factors
    alpha : float > 0
        α_∞; the LASSO's λ is 2α.
    """
    alpha = number("alpha", alpha, 0.0, open_low=True)
    check_pair(problem, start)
    if not isinstance(start, Factors) or not isinstance(problem.loss, Squared):
        raise InputError(
            "a penalty that stays has a known limit for Factors and the squared loss, but they are "
            f"{type(start).__name__} and {type(problem.loss).__name__}; integrate to a late time."
        )
    n, space = problem.n, problem.row_space
    # signs enter through the columns alone: a LASSO needs no interpolator
    reach = _all_parts(start, space, problem.y)
    try:
        face, b = lasso_face(reach.signed, space.b, space.s, 2 * alpha * n)
        reach = dataclasses.replace(reach, b=b, fit=space.fit(b), status="converged")
        points = _on_face(reach, face)
    except FaceError as error:
        return failed(problem, start, str(error))
    target = space.s * space.b
    theta = 2 * alpha * n * face.dual / space.s
    residual = space.s * space.basis.matvec(points.x[0]) - target
    primal = 0.5 * residual @ residual / n + 2 * alpha * np.sum(points.p + points.q)
    dual = (target @ theta - 0.5 * theta @ theta) / n
    return _polyhedral(problem, reach, points, abs(float(primal - dual)))


def _on_face(reach: _Reach, face: Face) -> Points:
    """The point of an L1 or LASSO face that minimises KL to the reference masses."""
    p, q = (part[None] for part in reach.signed.split(face.point))
    x, counts, sure = p - q, np.zeros(1, dtype=np.int64), np.array([True])
    if not face.unique:
        # what the point reaches is within the cone of its columns; b may be off by rounding
        on = reach.restricted(face.support, reach.space.basis.matvec(x[0]), reach.status)
        size, kappa, zero = float(face.point.sum()), None, np.zeros(1)
        if size > 0.0:
            # Σu is constant on the face and Gᵀ·dual = 1 there, so that masses scale along the
            # dual; in logs, as the masses may all be below the least float
            masses = np.logaddexp.reduce(on.parts[:2].ravel())
            kappa = 0.5 * face.dual * (math.log(size) - masses)
        path = on.follow(Solver(reach.space.basis), zero, kappa)
        counts, sure = path.counts, np.array([np.isfinite(path.kappa).all()])
        if sure.all():
            _, p, q, x = _masses([on], zero, reach.space.basis.rmatvec(path.kappa))
    return _points([reach], p, q, x, face.dual[None], counts, sure)


def _polyhedral(problem: Regression, reach: _Reach, points: Points, gap: float) -> Interpolator:
    p, q = points.p[0], points.q[0]
    slope = reach.space.basis.rmatvec(points.kappa[0])
    off_p = np.where(p > 0, np.abs(slope - 1.0), np.maximum(slope - 1.0, 0.0))
    off_q = np.where(q > 0, np.abs(slope + 1.0), np.maximum(-slope - 1.0, 0.0))
    stationarity = max(
        off_p[reach.positive].max(initial=0.0), off_q[reach.negative].max(initial=0.0)
    )
    # near ties that rounding decides can leave a dual that proves nothing
    sound = dataclasses.replace(points, converged=points.converged & (stationarity <= 1e-6))
    proofs = np.array([stationarity]), np.array([gap])
    return proven(problem, sound, *proofs, reach.fit, reach.status)[0]
