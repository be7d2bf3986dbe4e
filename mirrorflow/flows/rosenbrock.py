"""Rodas5P: a linearly implicit integrator for stiff systems whose linear algebra is special.

The method of G. Steinebach, "Construction of Rosenbrock–Wanner method Rodas5P and numerical
benchmarks within the Julia Differential Equations package", BIT Numerical Mathematics 63:27
(2023): 8 stages, order 5 with an embedded order 4, stiffly accurate, L-stable. Coefficients
are those of the paper in the transformed form of Hairer and Wanner, "Solving Ordinary
Differential Equations II", eq. IV.7.25: stage i solves

    (I/(hγ) − J) kᵢ = f(t + cᵢh, y + Σⱼ aᵢⱼkⱼ) + Σⱼ (Cᵢⱼ/h) kⱼ + h dᵢ ∂f/∂t.

The system supplies the solve, so that low-rank structure is used where it exists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mirrorflow.checks import Array

__all__ = ["Counts", "StepLimit", "System", "integrate"]

GAMMA = 0.21193756319429014
A = (
    (),
    (3.0,),
    (2.849394379747939, 0.45842242204463923),
    (-6.954028509809101, 2.489845061869568, -10.358996098473584),
    (2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641),
    (
        -7.502846399306121,
        2.561846144803919,
        -11.627539656261098,
        -0.18268767659942256,
        0.030198172008377946,
    ),
)  # stages 7 and 8 and the result each add the previous increment to stage 6's argument
C = (
    (),
    (-14.155112264123755,),
    (-17.97296035885952, -2.859693295451294),
    (147.12150275711716, -1.41221402718213, 71.68940251302358),
    (165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306),
    (
        24.854864614690072,
        -3.0009227002832186,
        47.4931110020768,
        5.5814197821558125,
        -0.6610691825249471,
    ),
    (
        30.91273214028599,
        -3.1208243349937974,
        77.79954646070892,
        34.28646028294783,
        -19.097331116725623,
        -28.087943162872662,
    ),
    (
        37.80277123390563,
        -3.2571969029072276,
        112.26918849496327,
        66.9347231244047,
        -40.06618937091002,
        -54.66780262877968,
        -9.48861652309627,
    ),
)
NODES = (
    0.0,
    0.6358126895828704,
    0.4095798393397535,
    0.9769306725060716,
    0.4288403609558664,
    1.0,
    1.0,
    1.0,
)
DERIVATIVE = (
    0.21193756319429014,
    -0.42387512638858027,
    -0.3384627126235924,
    1.8046452872882734,
    2.325825639765069,
)
A_ROWS = tuple(np.array(row) for row in A)
C_ROWS = tuple(np.array(row) for row in C)


class System(Protocol):
    """ẏ = f(t, y) with the solve that a Rosenbrock step needs."""

    def derivative(self, t: float, y: Array) -> Array:
        """f(t, y)."""

    def time_derivative(self, t: float, y: Array) -> Array:
        """∂f/∂t."""

    def solver(self, t: float, y: Array, shift: float) -> Callable[[Array], Array]:
        """The map b ↦ (shift·I − ∂f/∂y)⁻¹ b, factored once."""

    def error(self, increment: Array, y: Array) -> float:
        """Size of a local error in units of the tolerance: a step is taken where it is ≤ 1."""


class StepLimit(RuntimeError):
    """The integrator gave up before the end; the message says where and why."""


@dataclass(slots=True)
class Counts:
    """Work done so far."""

    steps: int = 0
    rejected: int = 0
    derivatives: int = 0
    factorizations: int = 0


def integrate(
    system: System,
    y: Array,
    times: Array,
    counts: Counts,
    *,
    max_steps: int = 100_000,
) -> Iterator[Array]:
    """Yield y at times[1], times[2], …, starting from y at times[0]; steps end on each time.

    Raises
    ------
    StepLimit
        If more than `max_steps` steps are needed or the step size underflows.
    """
    t = float(times[0])
    h = _first_step(system, t, y, float(times[-1]))
    counts.derivatives += 1
    previous, rejected = 1.0, False
    for target in times[1:]:
        target = float(target)
        while t < target:
            if counts.steps + counts.rejected >= max_steps:
                raise StepLimit(f"more than {max_steps} steps were needed to pass t = {t:.6g}")
            remaining = target - t
            # stretch by a little, or halve, rather than leave a sliver of a step
            last = h * 1.01 >= remaining
            step = remaining if last else min(h, 0.5 * remaining) if h * 2 > remaining else h
            if step <= 4 * math.ulp(t):
                raise StepLimit(f"the step size fell to {step:.1e} at t = {t:.6g}")
            new, increment = _step(system, t, y, step)
            counts.derivatives += 8
            counts.factorizations += 1
            size = system.error(increment, y) if np.isfinite(new).all() else math.inf
            # Gustafsson's predictive controller, as in Hairer and Wanner's RODAS
            factor = 0.9 * size**-0.2 if size > 0 else 6.0
            if size <= 1.0:
                counts.steps += 1
                factor *= min(1.0, (previous / size) ** 0.1) if size > 0 else 1.0
                factor = min(max(factor, 0.2), 1.0 if rejected else 6.0)
                t = target if last else t + step
                y, previous, rejected = new, max(size, 1e-4), False
                h = max(step * factor, h if last and step < h and factor >= 1.0 else 0.0)
            else:
                counts.rejected += 1
                h, rejected = step * max(factor if math.isfinite(size) else 0.1, 0.1), True
        yield y


def _first_step(system: System, t: float, y: Array, end: float) -> float:
    # a step over which the linear change stays small in units of a loose tolerance
    rate = system.error(system.derivative(t, y), y)
    return min(1e-2 * rate**-0.2, end - t) if rate > 0 else end - t


def _step(system: System, t: float, y: Array, h: float) -> tuple[Array, Array]:
    solve = system.solver(t, y, 1.0 / (h * GAMMA))
    drift = system.time_derivative(t, y)
    k = np.empty((8, *y.shape))
    point = y
    with np.errstate(over="ignore", invalid="ignore"):  # a wild trial step is rejected as such
        for i in range(8):
            if i < 6:
                point = y + A_ROWS[i] @ k[:i] if i else y
            else:
                point = point + k[i - 1]
            right = system.derivative(t + NODES[i] * h, point)
            if i:
                right = right + (C_ROWS[i] / h) @ k[:i]
            if i < 5:
                right = right + h * DERIVATIVE[i] * drift
            k[i] = solve(right)
        return point + k[7], k[7]
