r"""Exactly solvable penalties, mirror flows as gradient flows, and the risk of the linear flow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from mirrorflow.certificates.base import EPS, PATH_FACTOR, Certificate, drift, integral, size_of
from mirrorflow.checks import Array, InputError, real_array, vector
from mirrorflow.flows.trajectory import Flow
from mirrorflow.maps import HyperbolicEntropy, Powers
from mirrorflow.problems import Regression, random_stream
from mirrorflow.schedules import Schedule

__all__ = ["commuting_quadratics", "isometry", "linear_risk", "risk_of_draws", "solvable_penalty"]

RTOL = 1e-10


def solvable_penalty(
    start: Powers, flow: Flow, c: float, delta: float, rtol: float, share: float = 1.0
) -> Certificate:
    """u^L − v^L under h = c Σ(u^L + v^L) + δ‖θ‖², the h for which (14) holds (this project).

    With r = u^{2−L} (of v with −∇f for ∇f), K = L(L − 2), κ = 2δ(L − 2),

        r_t = e^{κA}[r₀ + K ∫e^{−κA}(∇f + α c) ds].

    c alone commutes with g (Jacobs, Zhou, Burkholz 2025), and r₀ + KcA widens the range of ∫∇f;
    δ alone is weight decay. Value: largest |x_t − x of this r| relative to the path's sizes. Bound:
    rtol (100 + steps)·max(r₀/r), as relative errors of r are those of sums.

    Parameters
    ----------
    start : Powers
        Of depth L ≥ 3.
    flow : Flow
        Of `controlled_flow` with this penalty and κ.
    c, delta : float
        Of h.
    rtol : float
        That of the path's integration.
    share : float
        A factor on A, to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the flow does not hold ∫∇f.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem = mf.Regression([[1.0, 2.0]], [2.0])
    >>> start = mf.Powers([0.5, 0.5], [0.5, 0.5], depth=3)
    >>> schedule = mf.Constant(0.1, 5.0)
    >>> path = mf.direct_flow(problem, start, schedule, [0.0, 5.0], 1e-9, accumulate=True)
    >>> mf.certificates.solvable_penalty(start, path, 0.0, 1.0, 1e-9).verdict
    'confirmed'
    """
    n, K, A = start.depth - 2, start.depth * (start.depth - 2), share * flow.total[:, None]
    kappa = 2.0 * delta * n
    spent = integral(flow)
    pushed = c * (A if kappa == 0.0 else -np.expm1(-kappa * A) / kappa)
    first = start.theta**-n
    r = np.exp(kappa * A)[:, None] * (first + K * np.stack([pushed + spent, pushed - spent], 1))
    x = start.g(np.maximum(r, 1e-30) ** (-1.0 / n))
    value = float(np.abs(x - flow.x).max()) / size_of(flow)
    lost = float((first / flow.parameters**-n).max(initial=1.0))
    return Certificate.of("solvable_penalty", value, drift(flow, rtol) * lost)


def commuting_quadratics(
    problem: Regression,
    A: Sequence[Array],
    B: Array,
    theta: Array,
    schedule: Schedule,
    end: float,
    share: float = 1.0,
) -> Certificate:
    """g_i = ½θᵀA_iθ under h = ½θᵀBθ, all commuting: x_t = g(e^M θ₀), M = −A_tB − Σ A_i∫∂_if.

    Jacobs, Zhou, Burkholz 2025, Theorem 3.3: the parameters may be shared by all coordinates.
    Value: largest |x_t − g(e^M θ₀)| at t = `end`, relative to max ½|θᵀ||A_i||θ|, from integrated θ.
    Bound: 100 rtol (1 + max|∫∇f|), rtol = 1e-10. `share` is a factor on A_t.

    Parameters
    ----------
    problem : Regression
    A : d arrays (D, D)
        Symmetric.
    B : (D, D) array
        Symmetric.
    theta : (D,) array
        θ₀.
    schedule : Schedule
    end : float
        t, in flow time.
    share : float
        A factor on A_t, to try.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If an array has another shape than it must, or an entry is no finite number.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> problem, theta = mf.Regression([[1.0, 2.0]], [2.0]), np.array([1.0, 0.5])
    >>> A, B = [np.diag([1.0, 0.0]), np.diag([1.0, -1.0])], np.eye(2)  # x = (½θ₁², ½(θ₁² − θ₂²))
    >>> args = problem, A, B, theta, mf.Constant(0.1)
    >>> mf.certificates.commuting_quadratics(*args, end=3.0).verdict
    'confirmed'
    """
    theta = real_array("theta", theta, 1)
    shapes, D = {form.shape for form in (*A, B)}, theta.size
    if shapes != {(D, D)} or len(A) != problem.d:
        raise InputError(
            f"A must be {problem.d} forms and B one, of shape {(D, D)} like theta, but there are "
            f"{len(A)} and their shapes are {shapes}."
        )
    forms = np.array(A)

    def g(at: Array) -> Array:
        return np.asarray(0.5 * np.einsum("ijk,j,k->i", forms, at, at))

    def derivative(t: float, state: Array) -> Array:
        at = state[:D]
        grad_f = problem.gradient(g(at))
        moved = -np.einsum("i,ijk,k->j", grad_f, forms, at) - float(schedule.alpha(t)) * (B @ at)
        return np.append(moved, grad_f)

    state = np.append(theta, np.zeros(problem.d))
    done = solve_ivp(derivative, (0.0, end), state, "DOP853", rtol=RTOL, atol=1e-3 * RTOL)
    at, spent = np.split(done.y[:, -1], [D])
    M = -share * float(schedule.total(end)) * B - np.tensordot(spent, forms, 1)
    size = 0.5 * float(np.einsum("ijk,j,k->i", np.abs(forms), np.abs(at), np.abs(at)).max())
    value = float(np.abs(g(at) - g(expm(M) @ theta)).max()) / size
    bound = PATH_FACTOR * RTOL * (1.0 + float(np.abs(spent).max()))
    return Certificate.of("commuting_quadratics", value, bound)


def isometry(
    problem: Regression, potential: HyperbolicEntropy, flow: Flow, rtol: float, power: float = 0.5
) -> Certificate:
    """Every separable mirror flow is a gradient flow, in φ = ∫√R″ dx (Amid & Warmuth 2020).

    φ_t integrated alone, φ̇ = −x′(φ)∂f with x′(φ) = R″^{−½}, against x_t of the mirror flow. Value:
    largest |x(φ_t) − x_t| at the last time, relative to the flow's sizes. Bound: rtol (100 + steps)
    + 100·1e-8, the tolerance of φ. `power` in place of ½, to try.

    Parameters
    ----------
    problem : Regression
    potential : HyperbolicEntropy
        Of the start.
    flow : Flow
        Of m ⊙ w without decay.
    rtol : float
        That of the path's integration.
    power : float
        In place of ½, to try.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = mf.direct_flow(problem, start, mf.Constant(0.0), [0.0, 0.5], 1e-8)
    >>> mf.certificates.isometry(problem, start.potential(), path, 1e-8).verdict
    'confirmed'
    """
    x0, a = flow.start.x, np.exp(potential.log_a)
    options = {"rtol": 1e-8, "atol": 1e-11}

    def dx_dphi(x: Array) -> Array:
        return np.asarray((2.0 * np.hypot(x, a)) ** power)

    # x(φ) from φ = 0 both ways, as far as twice the path goes
    far = 2.0 * float((np.abs(flow.x - x0).max(axis=0) / dx_dphi(np.zeros_like(a))).max())
    both = [
        solve_ivp(lambda _, x, s=side: s * dx_dphi(x), (0.0, far), x0, "DOP853", **options,
                  dense_output=True).sol
        for side in (1.0, -1.0)
    ]  # fmt: skip
    rows = np.arange(x0.size)

    def x_of(phi: Array) -> Array:
        up, down = (side(np.minimum(np.abs(phi), far))[rows, rows] for side in both)
        return np.where(phi >= 0, up, down)

    def derivative(t: float, phi: Array) -> Array:
        x = x_of(phi)
        return -dx_dphi(x) * problem.gradient(x)

    end = float(flow.times[-1])
    done = solve_ivp(derivative, (0.0, end), np.zeros_like(x0), "DOP853", **options)
    value = float(np.abs(x_of(done.y[:, -1]) - flow.x[-1]).max()) / size_of(flow)
    return Certificate.of("isometry", value, drift(flow, rtol) + PATH_FACTOR * 1e-8)


def linear_risk(Z: Array, x_true: Array, sigma: float, times: Array, power: float = 2.0) -> Array:
    """E‖x_t − x*‖², (T,), of gradient flow on x itself from x₀ = 0, y = Zx* + ε, Var ε = σ².

    Σ_i e^{−2λ_it}⟨v_i, x*⟩² + (σ²/n) Σ_{λ_i>0} (1 − e^{−λ_it})²/λ_i, λ_i and v_i of ZᵀZ/n (Advani &
    Saxe 2017): what x = m ⊙ w is to be compared with. `power` in place of the last 2, to try.

    Parameters
    ----------
    Z : (n, d) array
    x_true : (d,) array
        x*.
    sigma : float
        σ.
    times : (T,) array
        Flow times.
    power : float
        In place of the last 2, to try.

    Returns
    -------
    (T,) array
        In units of x².

    Raises
    ------
    InputError
        If an array has another shape than it must, or an entry is no finite number.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> Z, x_true = np.array([[1.0, 0.0]]), np.array([1.0, 0.0])
    >>> mf.certificates.linear_risk(Z, x_true, 0.1, np.array([0.0, 50.0])).round(3)
    array([1.  , 0.01])
    """
    Z, times = real_array("Z", Z, 2), real_array("times", times, 1)
    (n, d), x_true = Z.shape, vector("x_true", x_true, Z.shape[1], "one for each column of Z")
    values, vectors = np.linalg.eigh(Z.T @ Z / n)
    seen = values > d * EPS * values[-1]
    decays = np.exp(-np.outer(times, np.where(seen, values, 0.0)))
    noise = (1.0 - decays[:, seen]) ** power / values[seen]
    return np.asarray(decays**2 @ (vectors.T @ x_true) ** 2 + sigma**2 / n * noise.sum(axis=1))


def risk_of_draws(
    Z: Array, x_true: Array, sigma: float, times: Array, seed: int, power: float = 2.0
) -> Certificate:
    """`linear_risk` against the mean over 4000 draws of the noise.

    x_t = ∫₀ᵗ e^{−sZᵀZ/n} ds Zᵀy/n, from singular values of Z. Value: largest distance of the mean
    to the formula, in standard errors. Bound: 5.

    Parameters
    ----------
    Z : (n, d) array
    x_true : (d,) array
        x*.
    sigma : float
        σ.
    times : (T,) array
        Flow times.
    seed : int
    power : float
        As in `linear_risk`.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If an array has another shape than it must, or an entry is no finite number.

    Examples
    --------
    >>> import numpy as np
    >>> import mirrorflow as mf
    >>> Z, x_true = np.array([[1.0, 0.0]]), np.array([1.0, 0.0])
    >>> mf.certificates.risk_of_draws(Z, x_true, 0.1, np.array([1.0, 50.0]), seed=0).verdict
    'confirmed'
    """
    claimed, worst = linear_risk(Z, x_true, sigma, times, power), 0.0
    n = Z.shape[0]
    U, s, Vt = np.linalg.svd(Z, full_matrices=False)
    s = np.where(s > s[0] * n * EPS, s, 0.0)
    noise = sigma * random_stream("risk", seed).standard_normal((4000, n))
    along = (Z @ x_true + noise) @ U
    for t, risk in zip(times.tolist(), claimed.tolist(), strict=True):
        grown = np.divide(-np.expm1(-s * s * t / n), s, where=s > 0, out=np.zeros_like(s))
        off = np.sum(((along * grown) @ Vt - x_true) ** 2, axis=1)
        worst = max(worst, abs(off.mean() - risk) / (off.std() / np.sqrt(len(off))))
    return Certificate.of("risk_of_draws", worst, 5.0)
