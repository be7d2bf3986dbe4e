"""Tables of a flow map: X(μ) of any separable g as pieces of polynomials, for compiled code.

θ′(μ) = ∇g(θ), X = g(θ(μ)), X′ = |∇g|², in each coordinate from μ = 0 both ways, by collocation at
Chebyshev's points (Picard's iteration), each piece as long as its series allows. A coordinate's
table ends where θ blows up or ∇g is singular, and where X′ has changed by e^{±92}.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial import chebyshev, polynomial

from mirrorflow.checks import Array
from mirrorflow.compiled.options import kernel
from mirrorflow.derivatives import Function
from mirrorflow.maps.base import DX, RATES, Q, X

__all__ = ["FlowMap", "point", "tabulate_flow"]

NODES, MIDDLE = 17, 8
T = np.sin(np.pi / (NODES - 1) * np.arange(-MIDDLE, MIDDLE + 1))
TO_SERIES = np.linalg.inv(chebyshev.chebvander(T, NODES - 1))
# from values at T: integrals from −1 to each of T, and coefficients of powers of t
INTEGRAL = chebyshev.chebvander(T, NODES) @ chebyshev.chebint(TO_SERIES, lbnd=-1)
# from a series to powers of t: apart from TO_SERIES, as its high powers are large
TO_POWERS = np.zeros((NODES, NODES))
for k in range(NODES):
    TO_POWERS[: k + 1, k] = chebyshev.cheb2poly(np.eye(NODES)[k, : k + 1])
EPS = float(np.finfo(float).eps)
PIECES, SWEEPS = 96, 20  # most on either side; most of Picard's iterations
TAIL = 1e-13  # of a series, relative to its largest coefficient
FAR = 1e40  # ratio of X′ to that at μ = 0

# rows of `parts`: δ, number of pieces, their edges; of each piece X and Q in its middle and the
# coefficients of X′
DECAY, COUNT, EDGES = range(3)
COEFFICIENTS = 2
ONCE = 1.0 / np.arange(1.0, NODES + 1)
TWICE = ONCE / np.arange(2.0, NODES + 2)


@kernel("MAP")
def point(parts, low, high, total, mu, out):
    """e^{−δA} times X, X′ and Q, and |X″|/X′; nan beyond the table."""
    decay, pieces = np.exp(-parts[DECAY, 0] * total), int(parts[COUNT, 0])
    for j in range(low, high):
        at, left, right = mu[j], 0, pieces
        if not (at >= parts[EDGES, j] and at <= parts[EDGES + pieces, j]):
            for row in range(out.shape[0]):
                out[row, j] = np.nan
            continue
        while right - left > 1:
            middle = (left + right) // 2
            if at < parts[EDGES + middle, j]:
                right = middle
            else:
                left = middle
        half = 0.5 * (parts[EDGES + left + 1, j] - parts[EDGES + left, j])
        t = (at - parts[EDGES + left, j] - half) / half if half > 0.0 else 0.0
        row = EDGES + pieces + 1 + left * (COEFFICIENTS + NODES)
        x, q, dx, d2x = 0.0, 0.0, 0.0, 0.0
        for k in range(NODES - 1, -1, -1):
            c = parts[row + COEFFICIENTS + k, j]
            x, q = x * t + ONCE[k] * c, q * t + TWICE[k] * c
            d2x, dx = d2x * t + dx, dx * t + c
        out[X, j] = decay * (parts[row, j] + half * t * x)
        out[DX, j] = decay * dx
        out[RATES, j] = abs(d2x) / (half * dx) if half * dx > 0.0 else 0.0
        if out.shape[0] > Q:
            out[Q, j] = decay * (parts[row + 1, j] + half * t * (parts[row, j] + half * t * q))


class FlowMap(NamedTuple):
    """Pieces in ascending order of μ: edges (P + 1, d), (X, Q) in their middles (P, 2, d), powers
    of X′ (P, 17, d); θ in their middles (P, K, d) and powers of ∇g (P, 17, K, d)."""

    edges: Array
    middles: Array
    powers: Array
    theta: Array
    grad_g: Array

    def parts(self, decay: float) -> Array:
        """The rows of `point`."""
        pieces, d = len(self.middles), self.edges.shape[1]
        heads = np.repeat([[decay], [float(pieces)]], d, axis=1)
        rows = np.concatenate([self.middles, self.powers], axis=1).reshape(-1, d)
        return np.concatenate([heads, self.edges, rows])

    def at(self, mu: Array) -> Array:
        """θ, (K, d), at μ (d,); nan beyond the table."""
        j = np.arange(mu.size)
        i = (self.edges[1:-1] <= mu).sum(0)
        half = 0.5 * (self.edges[i + 1, j] - self.edges[i, j])
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.where(half > 0, (mu - self.edges[i, j] - half) / half, 0.0)
        inside = (mu >= self.edges[0]) & (mu <= self.edges[-1])
        grad_g = self.grad_g[i, :, :, j].transpose(1, 2, 0) * ONCE[:, None, None]
        theta = self.theta[i, :, j].T + half * t * polynomial.polyval(t, grad_g, tensor=False)
        return np.where(inside, theta, np.nan)


def tabulate_flow(g: Function, start: Array) -> FlowMap:
    """The flow map of ∇g from `start`, (K, d)."""
    d = start.shape[1]
    lengths, steep = np.linalg.norm(start, axis=0), np.linalg.norm(g.gradient(start), axis=0)
    ways = np.array([[-1.0], [1.0]])  # of the pieces to the left and to the right
    theta, mu, total = np.stack([start, start]), np.zeros((2, d)), np.zeros((2, d))
    half = ways * 0.25 * np.where(lengths > 0, lengths, 1.0) / steep
    first, ended = np.abs(half), np.zeros((2, d), bool)
    pieces: list[list[Array]] = []
    while len(pieces) < PIECES and not ended.all():
        while True:
            half[ended] = 0.0
            nodes, grad_g, metric, tail, settled = _collocate(g, theta, half)
            failed = ~(settled & (tail <= TAIL)) & ~ended
            if not failed.any():
                break
            half[failed] *= 0.5
            ended |= failed & (np.abs(half) < 4.0 * EPS * np.maximum(np.abs(mu), first))
        middle = np.array([g.value(side[MIDDLE]) for side in nodes])
        rise = INTEGRAL @ metric
        values = middle[:, None] + half[:, None] * (rise - rise[:, [MIDDLE]])
        masses = half[:, None] * (INTEGRAL[[MIDDLE, -1]] @ values)
        signs = ways[:, None] ** np.arange(NODES)[:, None]  # t runs the other way on the left
        powers = TO_POWERS @ (TO_SERIES @ metric) * signs
        grad_powers = _by_nodes(TO_POWERS, _by_nodes(TO_SERIES, grad_g)) * signs[..., None]
        mu = mu + 2.0 * half
        middles = np.stack([middle, total + masses[:, 0]], axis=1)
        pieces.append([mu, middles, powers, nodes[:, MIDDLE], grad_powers])
        theta, total = nodes[:, -1], total + masses[:, 1]
        ratio = metric[:, -1] / steep**2
        ended |= ~((ratio > 1.0 / FAR) & (ratio < FAR))
        tail = np.where(tail > 8.0 * EPS, tail, 1e-30)  # rounding
        half = half * np.clip(0.85 * (TAIL / tail) ** (1.0 / NODES), 0.3, 2.0)
    edges, *rest = (np.stack(rows) for rows in zip(*pieces, strict=True))
    joined = np.concatenate([edges[::-1, 0], np.zeros((1, d)), edges[:, 1]])
    return FlowMap(joined, *(np.concatenate([one[::-1, 0], one[:, 1]]) for one in rest))


def _collocate(g: Function, theta: Any, half: Any) -> tuple[Any, ...]:
    """θ and ∇g at the nodes of the pieces that begin at θ (2, K, d), |∇g|²; the tails of their
    series and whether θ has settled, (2, d)."""
    nodes = np.repeat(theta[:, None], NODES, axis=1)
    with np.errstate(all="ignore"):
        for _ in range(SWEEPS):
            grad_g = g.gradients(nodes.reshape(-1, *theta.shape[1:])).reshape(nodes.shape)
            now = theta[:, None] + half[:, None, None] * _by_nodes(INTEGRAL, grad_g)
            change, size = np.abs(now - nodes).max((1, 2)), np.abs(now).max((1, 2))
            nodes, settled = now, change <= 8.0 * EPS * size
            if (settled | ~np.isfinite(change)).all():
                break
        metric = (grad_g**2).sum(2)
        tail = np.maximum(_tail(grad_g), _tail(metric[:, :, None]))
    return nodes, grad_g, metric, tail, settled & np.isfinite(tail)


def _by_nodes(matrix: Any, values: Array) -> Array:
    """The matrix applied to values at nodes, (2, 17, K, d)."""
    return (matrix @ values.reshape(*values.shape[:2], -1)).reshape(values.shape)


def _tail(values: Array) -> Array:
    """The last two coefficients of the series relative to the largest, (2, d)."""
    series = np.abs(_by_nodes(TO_SERIES, values)).max(2)
    return series[:, -2:].max(1) / series.max(1)
