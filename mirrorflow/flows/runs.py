"""Compiled runs: a problem made ready once, then one run or many, shared among threads."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse

from mirrorflow.checks import Array
from mirrorflow.compiled import layout
from mirrorflow.compiled.tables import tabulate
from mirrorflow.flows import direct, dual, multistep, uncompiled
from mirrorflow.flows.trajectory import Counts, Runs
from mirrorflow.losses import squared
from mirrorflow.maps import product
from mirrorflow.maps.base import MirrorMap
from mirrorflow.problems import Regression
from mirrorflow.rowspace import RowSpace
from mirrorflow.threads import spread

__all__ = ["Ready", "Run", "direct_runs", "dual_runs"]

SAFETY = 0.1  # of rtol, as the errors of many steps add up
FULL_RANK = 1e-10  # least ratio of the eigenvalues of ZZᵀ that rounding leaves no doubt about
COPIED = 2**18  # most entries of a Z that is copied to where reading it is fastest
USUAL = product.point, product.written  # what compiled code calls directly


class Run(NamedTuple):
    """A run that ended: times reached (T,), θ there (T, K, d), ∫e^{−κA}∇f (T, d) where it was asked
    for, its work, why it ended early."""

    times: Array
    theta: Array
    accumulated: Array | None
    counts: Counts
    failure: str


def dual_runs(problem: Regression, asked: Runs) -> list[Run]:
    """The runs `asked` for by the dual system."""
    return _integrate(problem, asked, layout.DUAL)


def direct_runs(problem: Regression, asked: Runs) -> list[Run]:
    """The runs `asked` for by θ itself."""
    return _integrate(problem, asked, layout.DIRECT)


def _integrate(problem: Regression, asked: Runs, system: float) -> list[Run]:
    ready = Ready(problem)
    tables: dict[tuple[int, float], Array] = {}

    def one(i: int) -> Run:
        start, schedule, times = asked.starts[i], asked.schedules[i], asked.times[i]
        if times.size == 0:
            none = np.empty((0, *start.theta.shape))
            return Run(times, none, none[:, 0] if asked.accumulate else None, Counts(0, 0, 0), "")
        key = id(schedule), float(times[-1])
        if key not in tables:
            tables[key] = tabulate(schedule, key[1])
        if system == layout.DIRECT and start.written is None:
            run = problem, start, schedule, times, SAFETY * asked.rtol, asked.accumulate
            states, work, reason = uncompiled.integrate(*run)
        else:
            states, work, reason = ready.run(system, start, tables[key], times, asked)
        failure, counts = (
            multistep.REASONS[reason].format(calls=multistep.MOST_CALLS),
            Counts(*work),
        )
        if failure:
            failure += f" to pass t = {times[len(states) - 1] if len(states) else 0.0:.6g}"
        times = times[: len(states)]
        if system == layout.DUAL:
            total = np.asarray(schedule.total(times), float)
            theta = start.parameters(total, np.ascontiguousarray((ready.Z.T @ states.T).T))
            return Run(times, theta, None, counts, failure)
        size = start.theta.size
        theta = states[:, :size].reshape(len(states), *start.theta.shape)
        return Run(times, theta, states[:, size:] if asked.accumulate else None, counts, failure)

    return spread(one, len(asked.starts))


class Ready:
    """The data as compiled code reads them: Z and y, of fewer rows where n > d, and G = ZZᵀ/d."""

    def __init__(self, problem: Regression) -> None:
        Z: Any = problem.Z
        self.samples, self.loss, self.Z, self.y = problem.n, problem.loss, Z, problem.y
        self.basis: Array | None = None
        tall, squared_loss = problem.n > problem.d, self.loss.rows is squared
        if tall and squared_loss and not scipy.sparse.issparse(Z):
            # Z = QR: ∇f = Rᵀ(Rx − Qᵀy)/n, with d rows in place of n
            Q, self.Z = scipy.linalg.qr(Z, mode="economic")
            self.y = Q.T @ self.y
        if squared_loss or not tall:
            self.G = _gram(self.Z)
        if (tall and not squared_loss) or not _full_rank(self.G):
            space = RowSpace.of(self.Z, self.y)
            # outside the range of Z nothing holds ν back, and Zᵀν would drown in its rounding
            if not squared_loss:
                self.basis, self.Z = space.U.T, space.s[:, None] * space.V
                self.G = _gram(self.Z)
            elif not space.consistent:
                self.y = space.fit(space.b)
        self.n, self.d = self.Z.shape
        self.matrix, self.columns = layout.readable(self.Z)
        if not scipy.sparse.issparse(self.Z) and self.Z.size <= COPIED:
            self.matrix = _aligned(self.n, self.d)
            self.matrix[:] = self.Z

    def run(
        self, system: float, start: MirrorMap, table: Array, times: Array, asked: Runs
    ) -> tuple[Array, list[int], Any]:
        """As `uncompiled.integrate`."""
        kernel: Any
        if system == layout.DUAL:
            parts, kernel, state = start.parts(), start.point, np.zeros(self.n)
            rows = dual.PARTS + len(parts)
        else:
            rows, kernel = direct.rows_of_wide(len(start.theta)), start.written
            state = np.append(start.theta.ravel(), np.zeros(start.d * asked.accumulate))
        small, wide, pairs, numbers = self.workspace(rows)
        if system == layout.DUAL:
            wide[dual.PARTS :], wide[dual.RATES] = parts, start.rate
        numbers[layout.RATE], numbers[layout.LAYERS] = start.rate, len(start.theta)
        numbers[layout.KAPPA] = start.kappa if np.isfinite(start.kappa) else 0.0
        numbers[layout.SYSTEM], numbers[layout.DEGREE] = system, start.parameter
        numbers[layout.USUAL] = kernel in USUAL and self.loss.rows is squared
        states = np.empty((times.size, state.size))
        counts = np.array([0, 0, 0, 0, multistep.MOST_CALLS])
        reason = multistep.integrate(
            self.matrix,
            small,
            wide,
            pairs,
            numbers,
            kernel.address,
            self.loss.rows.address,
            table,
            state,
            times,
            SAFETY * asked.rtol,
            states,
            counts,
        )
        reached, *work, _ = counts.tolist()
        return states[:reached], work, reason

    def workspace(self, rows: int) -> tuple[Array, Array, Array, Array]:
        """small, wide, pairs and numbers of one run; see `layout`."""
        reduced = self.basis is not None
        small = _aligned(layout.BASIS + self.n if reduced else layout.SMALL, self.y.size)
        if reduced:
            small[layout.BASIS :] = self.basis
        wide, numbers = _aligned(rows, self.d), np.zeros(layout.NUMBERS)
        pairs = _aligned(3 + reduced, self.n, self.n)
        small[layout.Y], wide[: layout.OWN], pairs[layout.GRAM] = self.y, self.columns, self.G
        numbers[layout.SAMPLES], numbers[layout.TRACE] = self.samples, np.trace(self.G)
        numbers[layout.PARAMETER] = self.loss.parameter
        return small, wide, pairs, numbers


def _gram(Z: Any) -> Array:
    squares = Z @ Z.T / Z.shape[1]
    return squares.toarray() if scipy.sparse.issparse(squares) else squares


def _full_rank(G: Array) -> bool:
    """Whether the eigenvalues of G > 0 are within `FULL_RANK` of each other."""
    size = float(np.trace(G))
    factor, failed = scipy.linalg.lapack.dpotrf(G / size) if size > 0.0 else (G, 1)
    if not failed:
        # ‖G⁻¹‖ ≤ n times its largest entry: a few times cheaper than eigenvalues, and mostly enough
        inverse = scipy.linalg.lapack.dpotri(factor)[0]
        if len(G) * np.abs(inverse).max() < 1.0 / FULL_RANK:
            return True
    eigenvalues = np.linalg.eigvalsh(G)
    return bool(eigenvalues[0] > FULL_RANK * eigenvalues[-1])


def _aligned(*shape: int) -> Array:
    """An array on a 64-byte boundary, where vector instructions are fastest; uninitialised."""
    size = math.prod(shape)
    raw = np.empty(size + 8)
    first = (-raw.ctypes.data // 8) % 8
    return raw[first : first + size].reshape(shape)
