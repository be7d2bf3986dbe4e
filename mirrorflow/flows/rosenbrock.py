"""Rodas5P: a linearly implicit method for stiff systems whose linear algebra is special.

The method of G. Steinebach, "Construction of Rosenbrock–Wanner method Rodas5P and numerical
benchmarks within the Julia Differential Equations package", BIT Numerical Mathematics 63:27
(2023): 8 stages, order 5 with an embedded order 4, stiffly accurate, L-stable. Coefficients
are those of the paper in the transformed form of Hairer and Wanner, "Solving Ordinary
Differential Equations II", eq. IV.7.25: stage i solves

    (I/(hγ) − J) kᵢ = f(t + cᵢh, y + Σⱼ aᵢⱼkⱼ) + Σⱼ (Cᵢⱼ/h) kⱼ + h dᵢ ∂f/∂t.

The system supplies the solve, so that low-rank structure is used where it exists. Many runs step
at once, each by its own h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from mirrorflow.checks import Array
from mirrorflow.rowwise import Stages

__all__ = ["NODES", "Start", "step"]


class Start(Protocol):
    """ẏ = f(t, y) of L runs, seen from the point (t, y) of each from which it is to step."""

    def derivative(self, stage: int, y: Array) -> Array:
        """f, (L, N), at the time of that stage."""

    def drift(self) -> Array:
        """∂f/∂t at the point, (L, N)."""

    def solver(self, shift: Array) -> Callable[[Array], Array]:
        """The map b ↦ (shift·I − ∂f/∂y)⁻¹ b at the point, for shifts (L,) and b (L, N)."""


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


def step(start: Start, y: Array, slope: Array, h: Array) -> tuple[Array, Array]:
    """y (L, N) after steps h (L,), and the difference to the embedded method.

    `start` holds the system at the times t + h·NODES; `slope` is f(t, y).
    """
    length, k = h[:, None], Stages(8, y.shape)
    solve, drift = start.solver(1.0 / (GAMMA * h)), start.drift()
    point, right = y, slope
    for i in range(8):
        if i > 0:
            point = y + k.mix(A_ROWS[i]) if i < 6 else point + k[i - 1]
            right = start.derivative(i, point) + k.mix(C_ROWS[i]) / length
        if i < 5:
            right = right + DERIVATIVE[i] * length * drift
        k[i] = solve(right)
    return point + k[7], k[7]
