"""State of the explorer: what its three panels draw and say, a pure function of the settings.

Left R_A by coordinate, in the middle one sample z = (1, 2), y = 2 in the plane, to the right a
40×100 recovery with five nonzeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import contourpy
import numpy as np

from mirrorflow import certificates
from mirrorflow.certificate import Certificate
from mirrorflow.checks import Array, InputError, number, whole
from mirrorflow.descent import DescentPath, follow_descent
from mirrorflow.descent.stability import stable_step_size
from mirrorflow.flows import gradient_flow
from mirrorflow.limits import interpolator, lasso_limit
from mirrorflow.maps import DeepFactors, Factors, MirrorMap
from mirrorflow.problems import Regression, gaussian_recovery, random_stream
from mirrorflow.schedules import Constant, Geometric, Quadratic, Schedule

__all__ = [
    "POSITIONS",
    "SCHEDULES",
    "WINDOW",
    "Settings",
    "State",
    "outside",
    "problems",
    "start_of",
    "state",
]

PLANE_START = np.array([1.0, 0.5])  # times x₀
WINDOW = (-1.2, 1.6, -0.9, 1.9)  # left, right, bottom, top
TAU, LATE = 2.0, 40.0  # flow times: what a schedule lasts, and the end of the picture
TIMES = np.concatenate([[0.0], np.geomspace(1e-2, LATE, 36)])
SCHEDULES = ("constant until t = 2", "quadratic", "geometric", "constant without end")
STEPS, FARTHEST = 200, 10.0  # steps that a run makes, and |x| beyond which none is drawn
RADII = np.array([1.0, 2.0, 4.0, 5.0]) / 3.0  # of level sets, in units of the one through x_∞
POSITIONS = np.concatenate([4.0 * np.arange(5.0), 21.0 + np.arange(95.0)])  # the five lie apart
GRID, PROFILE = 57, 41  # points of a side of the window, and of a profile of R
RTOL, CHECKS = 1e-8, 4  # of flows; times at which a flow is checked


@dataclass(frozen=True)
class Settings:
    """Where the sliders stand.

    Parameters
    ----------
    total : float in [0, 4]
        A, spent by t = ∞, or without end at t = 40.
    beta : float in [0, 10]
        m₀² − w₀² in every coordinate; 0 is the balanced start. At depth L the difference of the
        squares of L − 1 equal layers and of the last one.
    x0 : float in [−2, 2]
        x₀ is so many times (1, ½) in the plane, and times fixed draws of N(0, I/√d) in the
        recovery.
    schedule : str, one of `SCHEDULES`
    depth : int in [2, 4]
    step : float in [0, 2]
        η as a share of 2/λ_max at the limit; 0 is gradient flow.
    momentum : float in [0, 0.95]
        μ of heavy ball, whose steps are η(1 − μ).
    """

    total: float = 1.0
    beta: float = 1.0
    x0: float = 0.5
    schedule: str = SCHEDULES[0]
    depth: int = 2
    step: float = 0.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("total", 0.0, 4.0),
            ("beta", 0.0, 10.0),
            ("x0", -2.0, 2.0),
            ("step", 0.0, 2.0),
            ("momentum", 0.0, 0.95),
        ):
            object.__setattr__(self, name, number(name, getattr(self, name), low, high))
        object.__setattr__(self, "depth", whole("depth", self.depth, 2, 4))
        if self.schedule not in SCHEDULES:
            known = ", ".join(SCHEDULES)
            raise InputError(f"schedule must be one of {known}, but it is {self.schedule!r}.")

    @property
    def alpha(self) -> Schedule:
        """α(t)."""
        if self.schedule == "quadratic":
            return Quadratic.from_total(self.total, TAU)
        if self.schedule == "geometric":
            return Geometric.from_total(self.total, math.exp(-1.0 / TAU))
        if self.schedule == SCHEDULES[0]:
            return Constant.from_total(self.total, TAU)
        return Constant(self.total / LATE)

    @property
    def endless(self) -> bool:
        """Whether α does not end."""
        return self.schedule == SCHEDULES[-1] and self.total > 0.0

    @property
    def descends(self) -> bool:
        """Whether steps are made."""
        return self.step > 0.0 and self.depth == 2 and not self.stuck

    @property
    def stuck(self) -> bool:
        """Whether all factors are 0 and stay there."""
        return self.beta == 0.0 and self.x0 == 0.0


class State(NamedTuple):
    """Arrays of the figures by source and column, and sentences by name.

    Attributes
    ----------
    arrays : dict of dict of arrays
        "profile": `at`, and R of both coordinates there; "levels", "through", "path", "ends" and
        "run": `x` and `y` in the plane, NaN between lines; "recovery": `at`, where the
        coordinates are drawn, x*'s first, and there `flow` and `run`, NaN without a run.
    texts : dict of str
    """

    arrays: dict[str, dict[str, Any]]
    texts: dict[str, str]


@cache
def problems() -> tuple[Regression, Regression, Array, Array, Array]:
    """The sample in the plane, the recovery, its draws of x₀, and its points of least L1 and L2."""
    recovery = gaussian_recovery(40, 100, 5, seed=0)
    draws = random_stream("explorer").standard_normal(100) / 100**0.25
    rich = interpolator(recovery, Factors.pilot(np.zeros(100)), math.inf)
    least = np.linalg.lstsq(recovery.Z, recovery.y)[0]
    return Regression(np.array([[1.0, 2.0]]), np.array([2.0])), recovery, draws, rich.x, least


def start_of(depth: int, x: Array, beta: float) -> MirrorMap:
    """L − 1 layers √(z² + β) and one z, whose product is x."""
    if depth == 2:
        return Factors.pilot(x, beta) if beta > 0 else Factors.balanced(x)
    low, high = np.zeros_like(x), np.maximum(np.abs(x), np.abs(x) ** (1.0 / depth))
    if beta > 0:
        high = np.maximum(high, np.abs(x) / beta ** (0.5 * (depth - 1)))
    for _ in range(80):  # bisection: the product grows with z
        z = 0.5 * (low + high)
        small = z * (z * z + beta) ** (0.5 * (depth - 1)) < np.abs(x)
        low, high = np.where(small, z, low), np.where(small, high, z)
    layers = [np.sqrt(z * z + beta)] * (depth - 1)
    return DeepFactors(np.stack([*layers, np.copysign(z, x)]))


def state(settings: Settings) -> State:
    """Everything the explorer shows.

    Examples
    --------
    >>> sorted(state(Settings(total=2.0)).arrays)
    ['ends', 'levels', 'path', 'profile', 'recovery', 'run', 'through']
    """
    plane, recovery, draws, rich, least = problems()
    start = start_of(settings.depth, settings.x0 * PLANE_START, settings.beta)
    wide = start_of(settings.depth, settings.x0 * draws, settings.beta)
    flow = gradient_flow(plane, start, settings.alpha, TIMES, RTOL)
    end, _, remark = _limit(settings, plane, start)
    remarks = [f"Plane: {remark}"] if remark else []
    arrays: dict[str, dict[str, Any]] = {"profile": _profile(settings)}
    arrays |= _level_sets(settings, start, end)
    arrays["path"] = {"x": flow.x[:, 0], "y": flow.x[:, 1]}
    arrays["ends"] = {"x": np.array([flow.x[0, 0], end[0]]), "y": np.array([flow.x[0, 1], end[1]])}
    check = certificates.finite_time(plane, start, flow, RTOL, checks=CHECKS)
    words = "x<sub>t</sub> = argmin {R(x; A<sub>t</sub>) : Zx = Zx<sub>t</sub>}"
    texts = {
        "profile": _scale(settings),
        "plane": f"The flow ends at ({end[0]:.3f}, {end[1]:.3f}). {_sentence(check, words)}",
    }
    x, proof, remark = _limit(settings, recovery, wide)
    remarks += [f"Recovery: {remark}"] if remark else []
    distances = _distances(x, rich, least)
    texts["recovery"] = f"Flow: {distances} {proof}"
    run = np.full(x.size, np.nan)
    arrays["run"] = {"x": np.empty(0), "y": np.empty(0)}
    texts["steps"] = texts["run"] = ""
    if settings.descends:
        made = _descent(settings, plane, start)
        visible = made.x[(np.abs(made.x) < FARTHEST).all(axis=1)]
        arrays["run"] = {"x": visible[:, 0], "y": visible[:, 1]}
        texts["steps"] = _of_run(plane, made)
        made = _descent(settings, recovery, wide)
        texts["run"] = _of_run(recovery, made)
        if made.status == "completed" and np.abs(made.x[-1]).max() < FARTHEST:
            run = made.x[-1]
            texts["run"] = f"{_distances(run, rich, least)} {texts['run']}"
    order = np.argsort(-np.abs(recovery.x_true), kind="stable")  # type: ignore[arg-type]
    arrays["recovery"] = {"at": POSITIONS, "flow": x[order], "run": run[order]}
    texts["remarks"], texts["limits"] = outside(settings), " ".join(remarks)
    return State(arrays, texts)


def outside(settings: Settings) -> str:
    """Sentences on what is outside a theorem's conditions, as the settings alone tell."""
    remarks = []
    if settings.stuck:
        remarks.append("β = 0 and x₀ = 0: all factors are 0, a saddle that the flow never leaves.")
    if settings.endless:
        where = "at the LASSO with λ = 2α" if settings.depth == 2 else "at no known limit"
        remarks.append(
            f"α does not end, so Theorem 2.3 does not apply: the flow ends {where}, not where "
            "Zx = y."
        )
    edge = (1.0 + settings.momentum) / (1.0 - settings.momentum)
    if settings.descends and settings.step > edge:
        remarks.append(
            f"The step size is {settings.step / edge:.2f} times the edge of stability at the "
            "flow's limit: the run can't rest there."
        )
    if settings.step > 0.0 and settings.depth > 2:
        remarks.append(
            f"Where steps lead is known at depth 2 alone; at depth {settings.depth} the flow is "
            "shown without them."
        )
    if settings.momentum > 0.0 and settings.step == 0.0:
        remarks.append("Momentum acts on steps, and at step size 0 there are none.")
    return " ".join(remarks)


def _profile(settings: Settings) -> dict[str, Array]:
    """R_A of both coordinates around its minimum, scaled to 1 at distance 1."""
    at = np.linspace(-1.0, 1.0, PROFILE)
    profile = {"at": at}
    for name, x in zip(("first", "second"), settings.x0 * PLANE_START, strict=True):
        centre = _values(settings, x, np.zeros(1))[1]
        values, _ = _values(settings, x, centre + np.append(at, 0.0))
        heights = values[:-1] - values[-1]  # a locked sign leaves one side
        profile[name] = heights / (heights[-1] if np.isfinite(heights[-1]) else heights[0])
    return profile


def _values(settings: Settings, x: float, points: Array) -> tuple[Array, float]:
    """R_A of a coordinate that starts at x, NaN where it is infinite; and its minimiser."""
    start = start_of(settings.depth, np.full(points.size, x), settings.beta)
    potential = start.potential(settings.total)
    low, high = potential.domain
    inside = (low <= points) & (points <= high)
    centre = potential.minimizer
    safe = np.where(inside, points, centre)
    return np.where(inside, potential.terms(safe, potential.gradient(safe)), np.nan), centre[0]


def _level_sets(settings: Settings, start: MirrorMap, through: Array) -> dict[str, Any]:
    """Level sets of R_A in the plane, by themselves the one through a point."""
    across, up = np.linspace(*WINDOW[:2], GRID), np.linspace(*WINDOW[2:], GRID)
    first, _ = _values(settings, settings.x0 * PLANE_START[0], across)
    second, _ = _values(settings, settings.x0 * PLANE_START[1], up)
    potential = start.potential(settings.total)
    least = potential.value(potential.minimizer)
    height = potential.value(through) - least
    lines: dict[str, list[Array]] = {"levels": [], "through": []}
    if math.isfinite(height) and height > 0.0:
        heights = np.ma.masked_invalid(second[:, None] + first[None, :] - least)
        contours = contourpy.contour_generator(across, up, heights)
        for radius in (1.0, *RADII):
            name = "through" if radius == 1.0 else "levels"
            for line in contours.lines(radius**2 * height):
                lines[name] += [np.asarray(line), np.full((1, 2), np.nan)]
    both = {name: np.concatenate([np.empty((0, 2)), *parts]) for name, parts in lines.items()}
    return {name: {"x": line[:, 0], "y": line[:, 1]} for name, line in both.items()}


def _limit(settings: Settings, problem: Regression, start: MirrorMap) -> tuple[Array, str, str]:
    """Where a flow ends, its proof, and a remark if it is no interpolator."""
    if settings.endless and settings.depth > 2:
        flow = gradient_flow(problem, start, settings.alpha, [LATE], RTOL)
        check = certificates.finite_time(problem, start, flow, RTOL, checks=1)
        return flow.x[-1], _sentence(check, "x = argmin {R : same Zx} at t = 40"), ""
    if settings.endless:
        alpha = float(settings.alpha.alpha_infinity)
        lasso = lasso_limit(problem, start, alpha)
        check = certificates.optimality(problem, lasso, math.inf)
        return lasso.x, _sentence(check, "the KKT conditions of the LASSO"), ""
    limit = interpolator(problem, start, settings.total)
    check = certificates.optimality(problem, limit, settings.total)
    proof = _sentence(check, "x = argmin {R : Zx = y}, its KKT conditions")
    return limit.x, proof, "" if limit.status == "converged" else limit.message


@lru_cache
def _edge(x0: float, beta: float, wide: bool) -> float:
    """2/λ_max of the plane's sample or of the recovery."""
    plane, recovery, draws, _, _ = problems()
    problem, x = (recovery, x0 * draws) if wide else (plane, x0 * PLANE_START)
    start = start_of(2, x, beta)
    assert isinstance(start, Factors)
    return stable_step_size(problem, start)


def _descent(settings: Settings, problem: Regression, start: MirrorMap) -> DescentPath:
    """Steps of share·2/λ_max, with α as the flow has it at their times."""
    assert isinstance(start, Factors)
    eta = settings.step * _edge(settings.x0, settings.beta, problem.d > 2)
    alphas = settings.alpha.alpha(eta * np.arange(STEPS))
    return follow_descent(
        problem,
        start,
        eta * (1.0 - settings.momentum),
        STEPS,
        np.broadcast_to(alphas, STEPS),
        momentum=settings.momentum,
        record=STEPS,
    )


def _of_run(problem: Regression, path: DescentPath) -> str:
    """How far a run came, and whether it stands at the minimum that its gain and shift name."""
    loss = float(problem.value(path.x[-1]))
    if path.status != "completed" or not np.abs(path.x[-1]).max() < FARTHEST:
        return f"{STEPS} steps: {'diverged' if path.status != 'outside' else path.message}."
    check = certificates.discrete_argmin(problem, path)
    words = "x<sub>k</sub> = argmin {R(x; Λ) + ⟨r, x⟩ : same Zx}"
    return f"After {STEPS} steps the loss is {loss:.1e}. {_sentence(check, words)}"


def _sentence(check: Certificate, words: str) -> str:
    compared = f"{check.value:.0e} {'≤' if check.holds else 'against'} {check.bound:.0e}"
    return f"{words}: {compared}, <b>{check.verdict}</b>."


def _distances(x: Array, rich: Array, least: Array) -> str:
    size = float(np.linalg.norm(x)) or 1.0
    to = [float(np.linalg.norm(x - other)) / size for other in (rich, least)]
    return f"‖x − x<sub>L1</sub>‖/‖x‖ = {to[0]:.3g}, ‖x − x<sub>L2</sub>‖/‖x‖ = {to[1]:.3g}."


def _scale(settings: Settings) -> str:
    if settings.depth > 2:
        return f"β e<sup>−4A</sup> = {settings.beta * math.exp(-4.0 * settings.total):.2g}"
    scale = 0.5 * settings.beta * math.exp(-4.0 * settings.total)
    return f"a = ½β e<sup>−4A</sup> = {scale:.2g} (units of x)"
