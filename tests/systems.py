"""The two systems on their arrays, beside their equations in NumPy; for tests of compiled loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse

import mirrorflow as mf
from mirrorflow.compiled import layout
from mirrorflow.flows import direct, dual, runs

EPS = 2.0**-52
SHAPES = {"wide": (3, 5, 3), "four rows": (4, 7, 4), "rank 2": (5, 6, 2), "tall": (9, 5, 3)}
LOSSES = {"squared": mf.Squared(), "huber": mf.PseudoHuber(0.5)}


def bounds(low, high):
    return np.uintp(low), np.uintp(high)


def near(expected, size=1.0):
    """Equal up to the rounding of some hundred operations on numbers of this size."""
    return pytest.approx(expected, rel=1e-13, abs=1e-13 * size)


def problem_of(shape, loss, sparse):
    n, d, rank = SHAPES[shape]
    rng = np.random.default_rng(7)
    data = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d)) / math.sqrt(rank)
    y = rng.standard_normal(n)
    return mf.Regression(scipy.sparse.csr_array(data) if sparse else data, y, loss=LOSSES[loss])


def start_of(name, d):
    layers = np.random.default_rng(3).uniform(0.5, 1.0, (4, d))
    if name == "m ⊙ w":
        return mf.Factors(layers[0], layers[1] - 0.7)
    if name == "u³ − v³":
        return mf.Powers(layers[0], layers[1], 3)
    return mf.DeepFactors(layers[: int(name[0])])


class System:
    """One of the two systems on its arrays, beside its equation in NumPy."""

    def __init__(self, problem, start, system, accumulate=False):
        self.problem, self.start, self.system = problem, start, system
        self.ready = ready = runs.Ready(problem)
        is_dual, self.d = system is dual, problem.d
        self.kernel = start.point if is_dual else start.written
        parts = start.parts() if is_dual else ()
        rows = dual.PARTS + len(parts) if is_dual else direct.rows_of_wide(len(start.theta))
        self.small, self.wide, self.pairs, self.numbers = ready.workspace(rows)
        if is_dual:
            self.wide[dual.PARTS :], self.wide[dual.RATES] = parts, start.rate
        self.numbers[layout.RATE], self.numbers[layout.LAYERS] = start.rate, len(start.theta)
        self.numbers[layout.KAPPA], self.numbers[layout.DEGREE] = start.kappa, start.parameter
        self.size = ready.n if is_dual else start.theta.size
        rng = np.random.default_rng(11)
        self.state = (
            0.02 * rng.standard_normal(self.size) if is_dual else start.theta.ravel().copy()
        )
        if accumulate:
            self.state = np.append(self.state, rng.standard_normal(self.d))

    def calls(self):
        arrays = self.ready.matrix, self.small, self.wide, self.pairs, self.numbers
        return *arrays, self.kernel.address, self.problem.loss.rows.address

    def derivative(self, total, alpha):
        """ν̇ or θ̇ at the state, and ġ, as the compiled loops have it."""
        Z, small, wide, _, *rest = self.calls()
        out, decay = np.empty(self.state.size), () if self.system is dual else (alpha,)
        self.system.derivative(Z, small, wide, *rest, total, *decay, self.state, out)
        return out

    def x(self, state, total):
        if self.system is dual:
            return self.start.potential(total).inverse_gradient(self.ready.Z.T @ state)
        return self.start.g(state[: self.size].reshape(-1, self.d))

    def slope(self, x):
        """φ′ of all samples."""
        return self.problem.loss.slope(self.problem.Z @ x, self.problem.y)

    def velocity(self, state, total, alpha):
        """By the equations in the two modules' first lines."""
        x, n = self.x(state, total), self.problem.n
        weight, slope = math.exp(-self.start.kappa * total), self.slope(x)
        if self.system is dual:
            # what stands for Z is QᵀZ; the targets' part outside of Q's range moves nothing
            Z = self.ready.Z
            if Z.shape != self.problem.Z.shape or self.ready.basis is not None:
                full = self.problem.Z
                dense = full.toarray() if scipy.sparse.issparse(full) else full
                small = Z.toarray() if scipy.sparse.issparse(Z) else Z
                slope = np.linalg.lstsq(small.T, dense.T @ slope, rcond=1e-10)[0]
            elif not self.problem.row_space.consistent:
                slope = self.problem.Z @ x - self.ready.y
            return -weight * slope / n
        theta, grad = state[: self.size].reshape(-1, self.d), self.problem.Z.T @ slope / n
        moved = -self.start.grad_g(theta) * grad - 2.0 * alpha * theta
        return np.append(moved, weight * grad if state.size > self.size else [])

    def jacobian(self, total, alpha):
        """By differences of fourth order."""
        columns = []
        for e in np.eye(self.state.size):
            at = [
                self.velocity(self.state + h * e, total, alpha) for h in (1e-4, -1e-4, 2e-4, -2e-4)
            ]
            columns.append((8.0 * (at[0] - at[1]) - (at[2] - at[3])) / 12e-4)
        return np.array(columns).T
