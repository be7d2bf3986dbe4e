r"""Sign descent on (m, w), the limit of Adam without averaging, and HAM's step on x.

    m ← (1 − ηλ)m − η sign(w ⊙ ∇f),     w ← (1 − ηλ)w − η sign(m ⊙ ∇f)

|m| and |w| change by the same −η sign(x∂f): |m| − |w| is multiplied by 1 − ηλ in every step in
which no factor changes its sign, and a change costs at most 2η. For λ = 0 the flow is
∇R(x)˙ = −sign(∇f) with ∇R = ½ sign(x)(√(k² + 4|x|) − |k|), k = |m₀| − |w₀|. But sign(∇f) is not in
the row space of Z: the limit is no argmin of R.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mirrorflow.checks import Array, instance, number, vector, whole
from mirrorflow.maps import Factors, check_pair
from mirrorflow.problems import Regression

__all__ = ["SignDescent", "ham_descent", "sign_descent"]

CLAMP = 5.0  # the largest exponent of a step of HAM, as in its authors' code


class SignDescent(NamedTuple):
    """The end of a run of `sign_descent`.

    Attributes
    ----------
    m, w : (d,) arrays
    crossings : (d,) int array
        How often each coordinate of either changed its sign, or left 0.

    Examples
    --------
    >>> run = sign_descent(Regression([[1.0]], [0.25]), Factors([1.0], [0.5]), 0.125, 2)
    >>> run.crossings
    array([0])
    """

    m: Array
    w: Array
    crossings: NDArray[np.int64]


def sign_descent(
    problem: Regression, factors: Factors, step_size: float, steps: int, decay: float = 0.0
) -> SignDescent:
    """Sign descent with step η and decoupled decay λ, as AdamW has it.

    Parameters
    ----------
    problem : Regression
    factors : Factors
        m₀ and w₀.
    step_size : float > 0
        η.
    steps : int ≥ 1
    decay : float ≥ 0
        λ.

    Returns
    -------
    SignDescent

    Raises
    ------
    InputError
        If a number is out of its range, or the start doesn't fit.

    Examples
    --------
    >>> run = sign_descent(Regression([[1.0]], [0.25]), Factors([1.0], [0.5]), 0.125, 2)
    >>> run.m, run.w
    (array([0.75]), array([0.25]))
    """
    check_pair(problem, factors)
    instance("factors", factors, Factors)
    eta = number("step_size", step_size, 0.0, open_low=True)
    kept = 1.0 - eta * number("decay", decay, 0.0)
    theta, crossings = factors.theta, np.zeros(problem.d, dtype=np.int64)
    for _ in range(whole("steps", steps, 0)):
        grad_f = problem.gradient(theta[0] * theta[1])
        moved = kept * theta - eta * np.sign(theta[::-1] * grad_f)
        crossings += np.sum((moved * theta < 0) | ((theta == 0) & (moved != 0)), axis=0)
        theta = moved
    return SignDescent(theta[0], theta[1], crossings)


def ham_descent(
    problem: Regression,
    x: ArrayLike,
    step_size: float,
    steps: int,
    alpha: float,
    beta: float = 0.0,
) -> Array:
    """x after gradient descent with HAM: x ← x − η∇f, then x ← x exp(−η(α sign(x) ∂f + β)).

    ∂f is that before the step, and the exponent is clamped to ±5 (Jacobs et al. 2026). For β = 0
    its flow is that of `Ham(x, alpha)`, off by O(η); β > 0 has no potential of this kind.

    Parameters
    ----------
    problem : Regression
    x : (d,) array
        x₀.
    step_size : float > 0
        η.
    steps : int ≥ 1
    alpha, beta : float ≥ 0

    Returns
    -------
    (d,) array

    Raises
    ------
    InputError
        If a number is out of its range, or x₀ doesn't fit.

    Examples
    --------
    >>> ham_descent(Regression([[2.0]], [1.0]), [0.0], 0.1, 200, 1.0).round(9)
    array([0.5])
    """
    instance("problem", problem, Regression)
    x = vector("x", x, problem.d, "one for each coordinate")
    eta = number("step_size", step_size, 0.0, open_low=True)
    alpha, beta = number("alpha", alpha, 0.0), number("beta", beta, 0.0)
    for _ in range(whole("steps", steps, 0)):
        grad_f = problem.gradient(x)
        x = x - eta * grad_f
        x = x * np.exp(np.clip(-eta * (alpha * np.sign(x) * grad_f + beta), -CLAMP, CLAMP))
    return x
