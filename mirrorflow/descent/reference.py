r"""Reference for discrete steps: (m, w) stepped as printed, with accumulators beside it.

With U = m + w, V = m − w, δ_k = 1 − 2η_kα_k and h_k = η_k g_k, g_k any gradient in the row space
of Z (a minibatch, fresh labels, any loss), a step of (S)GD is U ← (δ − h)U, V ← (δ + h)V. So

    Λ = −Σ log|δ² − h²|,      r = Σ [½ log|(δ + h)/(δ − h)| − h/δ],

and x_K = argmin {R_a(x) + ⟨r, x⟩ : Zx = Zx_K} with a = a₀e^{−Λ}, at any step size (Even et al. 2023
for α = 0; with decay, momentum and SAM: this project). See `gains`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mirrorflow.checks import Array, InputError, brief, instance, number, real_array, vector, whole
from mirrorflow.descent.gains import Gains, MomentumGains
from mirrorflow.descent.inputs import recorded_steps
from mirrorflow.descent.minibatches import Minibatches
from mirrorflow.maps import Factors, check_pair
from mirrorflow.own_schedules import check_schedule
from mirrorflow.problems import Regression, random_stream
from mirrorflow.result import Result
from mirrorflow.schedules import Constant, Schedule
from mirrorflow.stepwise import Stepwise

__all__ = ["DescentPath", "Sam", "follow_descent"]

CHUNK = 1000  # steps whose minibatches are drawn together
LARGEST = 1e50  # a factor beyond it has diverged
NONE = Constant(0.0)


@dataclass(frozen=True, slots=True)
class Sam:
    """Sharpness-aware minimisation: gradients at the ascent point m + ρ w g, w + ρ m g.

    Parameters
    ----------
    rho : float > 0
        ρ. Known before training: it counts like a step size 2ρ.
    per_sample : bool
        1-SAM, an ascent for each sample of the batch; else n-SAM, one for the batch.
    normalized : bool
        ρ/‖∇‖ in place of ρ, ∇ that of the batch (of the sample) in (m, w).

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = mf.follow_descent(problem, start, 0.05, 300, sam=mf.Sam(0.1))
    >>> path.status
    'completed'
    """

    rho: float
    per_sample: bool = False
    normalized: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "rho", number("rho", self.rho, 0.0, open_low=True))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DescentPath(Result):
    """A run of `follow_descent`.

    Attributes
    ----------
    steps : (T,) int array
        Recorded steps, ascending; the first is 0, the last the end.
    m, w, x : (T, d) arrays, x = m ⊙ w
    start : Factors
        The start that `gain` and `shift` refer to: m₀ and w₀, but rescaled where the learning rates
        of m and w differ, and balanced in a coordinate where a step set a factor to 0.
    gain, shift : (T, d) arrays
        Λ and r up to each recorded step: log p̄ = log ½u₀² − Λ − 2r, log q̄ = log ½v₀² − Λ + 2r.
    total : (T,) array
        A = Σ C_k α_k, C_k the effective learning rate of step k (η_k without momentum).
    ratio : float
        η_w/η_m.
    flips : (d,) int array
        How often m + w or m − w changed sign.
    status : str
        "completed"; "diverged" (the path ends before that step); "outside" (under momentum a step
        set a factor to 0, and Λ and r have no value).
    message : str

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> path = mf.follow_descent(problem, start, 0.05, 300)
    >>> path.status, int(path.steps[-1]), bool((path.gain[-1] > 0).all())
    ('completed', 300, True)
    """

    table: ClassVar[tuple[str, ...]] = ("steps", "total", "x", "gain", "shift")
    steps: NDArray[np.int64]
    m: Array
    w: Array
    start: Factors
    gain: Array
    shift: Array
    total: Array
    ratio: float
    flips: NDArray[np.int64]
    status: str
    message: str

    @property
    def x(self) -> Array:
        return self.m * self.w

    @property
    def success(self) -> bool:
        """Whether all steps were made, and gain and shift say what they led to."""
        return self.status == "completed"

    def _facts(self) -> dict[str, Any]:
        sizes = {"d": self.m.shape[1], "steps": int(self.steps[-1]), "total": float(self.total[-1])}
        gain = float(np.median(self.gain[-1]))
        return {**sizes, "status": self.status, "median_gain": gain}


def follow_descent(
    problem: Regression,
    factors: Factors,
    step_size: ArrayLike,
    steps: int,
    schedule: Stepwise | Schedule | ArrayLike = NONE,
    *,
    batch_size: int | Sequence[ArrayLike] | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    sam: Sam | None = None,
    label_noise: float | ArrayLike = 0.0,
    clip: float | None = None,
    learning_rates: tuple[float, float] = (1.0, 1.0),
    seed: int = 0,
    record: int = 100,
) -> DescentPath:
    """Gradient descent or SGD on (m, w) as printed, one step after the other.

        b ← μb + grad + 2α_k θ,      θ ← θ − η_k b      (Nesterov: θ ← θ − η_k(grad + 2α_k θ + μb))

    for θ = m, w with grad = (w ⊙ g, m ⊙ g), as PyTorch's SGD runs it with weight decay 2α.

    Parameters
    ----------
    problem : Regression
        With any loss.
    factors : Factors
    step_size : float > 0, or (steps,) array of such
        η_k.
    steps : int ≥ 1
        K.
    schedule : Stepwise, Schedule, or (steps,) array of α_k ≥ 0
        A continuous one is read where the step starts, at Σ_{l<k} η_l.
    batch_size : int in [1, n], or K sequences of row numbers, optional
        Minibatches as in `descend` with the same seed, or these. None: all rows.
    momentum : float in [0, 1)
        μ.
    nesterov : bool
    sam : Sam, optional
        Without momentum.
    label_noise : float ≥ 0, or (steps, n) array
        Standard deviation of fresh normal noise on y in every step, in units of y; or the noise.
    clip : float > 0, optional
        Largest ‖(w ⊙ g, m ⊙ g)‖₂: longer gradients are scaled to it. The decay is not.
    learning_rates : two floats > 0
        Factors of η for the gradients of m and of w, without momentum or SAM. Not of the decay.
    seed : int ≥ 0
    record : int ≥ 1
        About how many states are kept.

    Returns
    -------
    DescentPath

    Raises
    ------
    InputError
        If an argument is out of its range, or a combination is outside of the theorem.

    Examples
    --------
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> path = follow_descent(problem, Factors.pilot([0.0, 0.0]), 0.05, 500)
    >>> bool(abs(problem.Z @ path.x[-1] - 2.0) < 1e-12)
    True
    """
    check_pair(problem, factors)
    instance("factors", factors, Factors)
    instance("nesterov", nesterov, bool, np.bool_)
    if sam is not None:
        instance("sam", sam, Sam)
    steps = whole("steps", steps, 1)
    rates = _step_sizes(step_size, steps)
    momentum = number("momentum", momentum, 0.0, 1.0)
    ratio = _ratio(learning_rates)
    if momentum == 1.0:
        raise InputError("momentum must be below 1, but it is 1.")
    if momentum > 0 and (sam is not None or ratio != 1.0):
        raise InputError(
            f"momentum must be 0 with sam or with learning rates of m and w that differ, where "
            f"nothing exact is known, but it is {momentum:g}."
        )
    if sam is not None and ratio != 1.0:
        raise InputError(f"learning_rates must be equal with sam, but they are {learning_rates}.")
    alphas = _alphas(schedule, rates)
    seed = whole("seed", seed, 0)
    weights = _weights(problem.n, batch_size, steps, seed)
    noise = _noise(problem.n, label_noise, steps, seed)
    longest = np.inf if clip is None else number("clip", clip, 0.0, open_low=True)
    scale = np.array([[learning_rates[0]], [learning_rates[1]]])
    theta = factors.theta
    gains = (MomentumGains if momentum > 0 else Gains)(problem.d, momentum, nesterov)
    buffer, marks, kept = np.zeros_like(theta), set(recorded_steps(record, steps).tolist()), []
    status, message = "completed", "All steps were made."
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for k in range(steps + 1):
            if k in marks:
                kept.append((k, theta, *gains.now()))
            if k == steps:
                break
            eta, alpha = rates[k], alphas[k]
            grads, g, ascent = _gradients(problem, theta, next(weights), next(noise), sam, longest)
            pull = grads * scale + 2.0 * alpha * theta
            buffer = momentum * buffer + pull
            moved = theta - eta * (pull + momentum * buffer if nesterov else buffer)
            if not np.abs(moved).max() <= LARGEST:
                status = "diverged"
                message = f"Step {k + 1} left the range of numbers; take a smaller step size."
                break
            gains.add(eta, alpha, g * float(np.sqrt(scale[0, 0] * scale[1, 0])), ascent)
            theta = moved
    if kept[-1][0] < k:
        kept.append((k, theta, *gains.now()))
    number_of, states, gain, shift, total = zip(*kept, strict=True)
    if gains.zero.any() and status == "completed":
        which = int(np.argmax(gains.zero.any(axis=0)))
        message = f"All steps were made; one set m + w or m − w of coordinate {which} to 0: it is "
        message += "balanced from then on, and x keeps its sign there."
    if gains.lost.any() and status == "completed":
        status = "outside"
        which = int(np.argmax(gains.lost))
        message = f"Under momentum a step set m + w or m − w of coordinate {which} to 0."
    theta = np.array(states)
    return DescentPath(
        np.array(number_of),
        theta[:, 0],
        theta[:, 1],
        gains.start(factors, ratio),
        np.array(gain),
        np.array(shift),
        np.array(total),
        ratio,
        gains.flips,
        status,
        message,
    )


def _step_sizes(step_size: ArrayLike, steps: int) -> Array:
    if np.ndim(step_size) == 0:
        return np.full(steps, number("step_size", step_size, 0.0, open_low=True))
    rates = real_array("step_size", step_size, 1)
    if rates.size != steps or rates.min() <= 0:
        raise InputError(
            f"step_size must be one number or {steps} (one for each step), all above 0, but it has "
            f"{rates.size}, of which the least is {rates.min():g}: per-coordinate steps, as Adam "
            "takes, leave the row space of Z and have no such limit."
        )
    return rates


def _ratio(learning_rates: Any) -> float:
    """η_w/η_m."""
    given = list(learning_rates) if np.iterable(learning_rates) else []
    if len(given) != 2 or any(np.ndim(rate) for rate in given):
        raise InputError(
            f"learning_rates must be two numbers, for m and for w, but it is "
            f"{brief(learning_rates)}; rates per coordinate leave the row space of Z."
        )
    of_m, of_w = (number("learning_rates", rate, 0.0, open_low=True) for rate in given)
    return of_w / of_m


def _alphas(schedule: Any, rates: Array) -> Array:
    if isinstance(schedule, Stepwise):
        return np.asarray(schedule.alpha(np.arange(1, rates.size + 1)), float)
    if isinstance(schedule, Sequence | np.ndarray):
        alphas = vector("schedule", schedule, rates.size, "one for each step")
        if alphas.min() < 0:
            raise InputError(f"schedule must be at least 0, but an α is {alphas.min():g}.")
        return alphas
    check_schedule(schedule)
    starts = np.concatenate([[0.0], np.cumsum(rates)[:-1]])
    return np.broadcast_to(np.asarray(schedule.alpha(starts), float), rates.size)


def _weights(
    n: int, batch_size: int | Sequence[ArrayLike] | None, steps: int, seed: int
) -> Iterator[Array]:
    """1/B on the rows of each step's batch, (n,)."""
    if batch_size is None:
        return itertools.repeat(np.full(n, 1.0 / n))
    if not np.iterable(batch_size):
        size = whole("batch_size", batch_size, 1, n)
        draws = Minibatches(np.array([seed]), n, size)
        return (row for _ in itertools.count() for row in draws.next(CHUNK)[:, 0])
    batches = [np.asarray(rows) for rows in batch_size]
    good = [rows.ndim == 1 and rows.size and rows.dtype.kind in "iu" for rows in batches]
    if (
        len(batches) != steps
        or not all(good)
        or not all(rows.min() >= 0 and rows.max() < n for rows in batches)
    ):
        raise InputError(
            f"batch_size must be a whole number or {steps} lists of row numbers below {n}, but it "
            f"is {brief(batch_size)}."
        )
    return (np.bincount(rows, minlength=n) / rows.size for rows in batches)


def _noise(n: int, label_noise: float | ArrayLike, steps: int, seed: int) -> Iterator[Any]:
    """What is added to y in each step."""
    if np.ndim(label_noise) == 0:
        size = number("label_noise", label_noise, 0.0)
        if size == 0.0:
            return itertools.repeat(0.0)
        stream = random_stream("descent", "labels", seed)
        return (size * stream.standard_normal(n) for _ in itertools.count())
    rows = real_array("label_noise", label_noise, 2)
    if rows.shape != (steps, n):
        raise InputError(f"label_noise must have shape {(steps, n)}, but it has {rows.shape}.")
    return iter(rows)


def _gradients(
    problem: Regression, theta: Array, weights: Array, noise: Any, sam: Sam | None, longest: float
) -> tuple[Array, Array, Array]:
    """Gradients in (m, w), (2, d); g; and ρ·(mean of g times g at the ascent point)."""
    m, w = theta
    Z: Any = problem.Z
    y, derivative = problem.y + noise, problem.loss.slope
    dphi, ascent = derivative(Z @ (m * w), y), np.zeros_like(m)
    if sam is not None and sam.per_sample:
        own = dphi[:, None] * Z  # g of each sample
        rho = _radius(sam, own, m, w)[:, None]
        m, w = m + rho * w * own, w + rho * m * own
        there = weights[:, None] * derivative(np.sum(Z * (m * w), axis=1), y)[:, None] * Z
        g, ascent = there.sum(axis=0), np.sum(rho * own * there, axis=0)
        grads = np.stack([np.sum(w * there, axis=0), np.sum(m * there, axis=0)])
    else:
        g = Z.T @ (weights * dphi)
        if sam is not None:
            rho, first = _radius(sam, g, m, w), g
            m, w = m + rho * w * g, w + rho * m * g
            g = Z.T @ (weights * derivative(Z @ (m * w), y))
            ascent = rho * first * g
        grads = np.stack([w * g, m * g])
    length = float(np.linalg.norm(grads))
    factor = longest / length if length > longest else 1.0
    return factor * grads, factor * g, factor * ascent


def _radius(sam: Sam, g: Array, m: Array, w: Array) -> Array:
    """ρ, or ρ/‖(w ⊙ g, m ⊙ g)‖ where that is not 0."""
    lengths = np.sqrt(np.sum(g * g * (m * m + w * w), axis=-1))
    return sam.rho / np.where(sam.normalized & (lengths > 0), lengths, 1.0)
