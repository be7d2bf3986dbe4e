"""Who integrates flows: this toolkit, diffrax, scipy, torchdiffeq, plain gradient descent.

Everybody gets the fields in the same two forms, (m, w) ∈ R²ᵈ and dual ν ∈ Rⁿ,

    ṁ = −w ⊙ ∇f − 2α m,  ẇ = −m ⊙ ∇f − 2α w        ν̇ = −(2/n)(Zx − y),  x = p − q

(PAPER: Jacobs & Burkholz, ICLR 2025), rtol = atol, the same output times, float64, and stops
where α jumps. All return x at the output times.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import odeint, solve_ivp

import mirrorflow as mf
from benchmarks.measure import BASE, Answer, Entry
from benchmarks.settings import FlowSetting, Piece
from mirrorflow.checks import Array

__all__ = ["Dual", "compiled_odeint", "descent", "diffrax_flows", "ours", "ours_single"]
__all__ += ["scipy_flows", "torchdiffeq_flows"]

MOST_STEPS = 1_000_000
ETA = 1e-4  # the paper's, for ‖Zx − y‖²/n: a step is 2η of this toolkit's flow time


def _fresh(problem: mf.Regression) -> mf.Regression:
    """The same data without the factorization that an earlier call has left."""
    return mf.Regression(problem.Z, problem.y)


def ours(setting: FlowSetting, one_by_one: bool = False) -> Entry:
    """`gradient_flows`, or `gradient_flow` in a loop; each call's factorization of Z included."""
    problem, asked = setting.problem, (setting.schedule, setting.times, setting.rtol)

    def compute() -> list[mf.Flow]:
        if one_by_one:
            return [mf.gradient_flow(_fresh(problem), start, *asked) for start in setting.factors]
        return mf.gradient_flows(_fresh(problem), setting.factors, *asked)

    name = f"{BASE}, one by one" if one_by_one else BASE
    return Entry(name, len(setting.factors), lambda: compute, _read_flows)


ours_single = functools.partial(ours, one_by_one=True)


def _read_flows(flows: list[mf.Flow]) -> Answer:
    counts = {
        name: float(np.mean([getattr(flow, name) for flow in flows]))
        for name in ("steps", "right_hand_sides", "factorizations")
    }
    failed = [flow.message for flow in flows if not flow.success]
    if failed:
        raise RuntimeError(f"{len(failed)} flows failed: {failed[0]}")
    return Answer(np.array([flow.x for flow in flows]), counts)


def _read_array(x: Any) -> Answer:
    x = np.asarray(x)
    if not np.isfinite(x).all():
        raise RuntimeError("a flow did not reach the last time")
    return Answer(x)


def _walk(setting: FlowSetting, state: Any, advance: Callable[[Piece, Any, Array], Any]) -> list:
    """States at `setting.times`; `advance` gives them at the stops of one piece, first included."""
    selected, last = [], float(setting.times[-1])
    for piece in setting.pieces:
        before = (setting.times < piece.end) | (piece.end == last)
        asked = setting.times[(setting.times >= piece.start) & before]
        stops = np.unique(np.concatenate([[piece.start], asked, [piece.end]]))
        states = advance(piece, state, stops)
        selected += [states[int(i)] for i in np.searchsorted(stops, asked)]
        state = states[-1]
    return selected


class _Factors:
    """The field of (m, w) for one start."""

    def __init__(self, setting: FlowSetting, run: int) -> None:
        self.Z, self.y, self.n = setting.problem.Z, setting.problem.y, setting.problem.n
        self.d, self.times = setting.problem.d, setting.times
        self.H = self.Z.T @ self.Z / self.n
        self.start = setting.state[run].ravel()

    def derivative(self, t: float, state: Array, piece: Piece) -> Array:
        m, w = state[: self.d], state[self.d :]
        grad_f = self.Z.T @ (self.Z @ (m * w) - self.y) / self.n
        decay = 2 * piece.alpha
        return np.concatenate([-w * grad_f - decay * m, -m * grad_f - decay * w])

    def jacobian(self, t: float, state: Array, piece: Piece) -> Array:
        d, m, w = self.d, state[: self.d], state[self.d :]
        J = np.empty((2 * d, 2 * d))
        J[:d, :d], J[:d, d:] = -w[:, None] * self.H * w, -w[:, None] * self.H * m
        J[d:, :d], J[d:, d:] = -m[:, None] * self.H * w, -m[:, None] * self.H * m
        diagonal, grad_f = np.arange(d), self.Z.T @ (self.Z @ (m * w) - self.y) / self.n
        J[diagonal, d + diagonal] -= grad_f
        J[d + diagonal, diagonal] -= grad_f
        J[np.arange(2 * d), np.arange(2 * d)] -= 2 * piece.alpha
        return J

    def x(self, states: list[Array], setting: FlowSetting) -> Array:
        return np.array([state[: self.d] * state[self.d :] for state in states])


class Dual:
    """The field of ν for one start."""

    def __init__(self, setting: FlowSetting, run: int) -> None:
        self.Z, self.y, self.n = setting.problem.Z, setting.problem.y, setting.problem.n
        self.log_p, self.log_q = setting.log_masses[run]
        self.start = np.zeros(self.n)

    def masses(self, total: float, nu: Array) -> tuple[Array, Array]:
        mu = nu @ self.Z
        return np.exp(self.log_p - 4 * total + mu), np.exp(self.log_q - 4 * total - mu)

    def derivative(self, t: float, nu: Array, piece: Piece) -> Array:
        p, q = self.masses(piece.total + piece.alpha * (t - piece.start), nu)
        return 2 / self.n * (self.y - self.Z @ (p - q))

    def jacobian(self, t: float, nu: Array, piece: Piece) -> Array:
        p, q = self.masses(piece.total + piece.alpha * (t - piece.start), nu)
        return -2 / self.n * (self.Z * (p + q)) @ self.Z.T

    def x(self, states: list[Array], setting: FlowSetting) -> Array:
        pairs = zip(setting.times, states, strict=True)
        parts = [self.masses(float(setting.schedule.total(t)), nu) for t, nu in pairs]
        return np.array([p - q for p, q in parts])


@functools.cache
def _compiled() -> tuple[Callable[..., Array], Callable[..., Array]]:
    """`Dual`'s field and Jacobian, compiled by Numba."""
    import numba

    @numba.njit(fastmath=True)
    def masses(nu: Array, Z: Array, log_p: Array, log_q: Array, total: float) -> Any:
        mu = nu @ Z
        return np.exp(log_p - 4 * total + mu), np.exp(log_q - 4 * total - mu)

    @numba.njit(fastmath=True)
    def derivative(
        t: float, nu: Array, Z: Array, y: Array, log_p: Array, log_q: Array, A: float, alpha: float
    ) -> Array:
        p, q = masses(nu, Z, log_p, log_q, A + alpha * t)
        return 2 / y.size * (y - Z @ (p - q))

    @numba.njit(fastmath=True)
    def jacobian(
        t: float, nu: Array, Z: Array, y: Array, log_p: Array, log_q: Array, A: float, alpha: float
    ) -> Array:
        p, q = masses(nu, Z, log_p, log_q, A + alpha * t)
        return -2 / y.size * (Z * (p + q)) @ Z.T

    return derivative, jacobian


FIELDS = {"(m, w)": _Factors, "dual": Dual}


def scipy_flows(setting: FlowSetting, coordinates: str, method: str) -> Entry:
    """scipy, one start after the other.

    `method` is one of solve_ivp's with differences for the Jacobian ("LSODA"), or with the exact
    Jacobian ("Radau, Jacobian"), or "odeint, Jacobian": LSODA without Python between its steps.
    """
    name, _, exact = method.partition(", ")
    tolerances = {"rtol": setting.rtol, "atol": setting.rtol}

    def advance(field: Any, piece: Piece, state: Array, stops: Array) -> Array:
        f, args, jacobian = field.derivative, (piece,), field.jacobian
        if name == "odeint":
            more = {"tfirst": True, "mxstep": MOST_STEPS, **tolerances}
            return odeint(f, state, stops, args, jacobian, **more)
        more = {"jac": jacobian, **tolerances} if exact else tolerances
        run = solve_ivp(f, (piece.start, piece.end), state, name, stops, args=args, **more)
        if not run.success:
            raise RuntimeError(run.message)
        return run.y.T

    def compute() -> list[Array]:
        fields = [FIELDS[coordinates](setting, run) for run in range(len(setting.factors))]
        return [
            field.x(_walk(setting, field.start, functools.partial(advance, field)), setting)
            for field in fields
        ]

    label = f"scipy {method}, {coordinates}"
    return Entry(label, len(setting.factors), lambda: compute, _read_array)


def compiled_odeint(setting: FlowSetting) -> Entry:
    """scipy's odeint on the dual, with the field and its exact Jacobian compiled by Numba."""
    tolerances = {"rtol": setting.rtol, "atol": setting.rtol}

    def prepare() -> Callable[[], Any]:
        derivative, jacobian = _compiled()

        def advance(field: Dual, piece: Piece, state: Array, stops: Array) -> Array:
            A = piece.total - piece.alpha * piece.start
            args = (field.Z, field.y, field.log_p, field.log_q, A, piece.alpha)
            more = {"tfirst": True, "mxstep": MOST_STEPS, **tolerances}
            return odeint(derivative, state, stops, args, jacobian, **more)

        def compute() -> list[Array]:
            fields = [Dual(setting, run) for run in range(len(setting.factors))]
            return [
                field.x(_walk(setting, field.start, functools.partial(advance, field)), setting)
                for field in fields
            ]

        return compute

    label = "scipy odeint, Jacobian, dual, compiled"
    return Entry(label, len(setting.factors), prepare, _read_array)


def diffrax_flows(setting: FlowSetting, coordinates: str, solver: str) -> Entry:
    """diffrax, vmapped over all starts and jitted; compilation is not timed."""

    def prepare() -> Callable[[], Any]:
        import diffrax
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", True)
        Z, y, n = jnp.asarray(setting.problem.Z), jnp.asarray(setting.problem.y), setting.problem.n

        def factors_field(t: Any, state: Any, arguments: Any) -> Any:
            (m, w), (piece, _) = state, arguments
            grad_f = Z.T @ (Z @ (m * w) - y) / n
            return jnp.stack([-w * grad_f, -m * grad_f]) - 2 * piece.alpha * state

        def masses(total: Any, nu: Any, log_masses: Any) -> Any:
            mu = nu @ Z
            return jnp.exp(log_masses - 4 * total + jnp.stack([mu, -mu]))

        def dual_field(t: Any, nu: Any, arguments: Any) -> Any:
            piece, log_masses = arguments
            p, q = masses(piece.total + piece.alpha * (t - piece.start), nu, log_masses)
            return 2 / n * (y - Z @ (p - q))

        dual = coordinates == "dual"
        term = diffrax.ODETerm(dual_field if dual else factors_field)
        solve = functools.partial(
            diffrax.diffeqsolve,
            stepsize_controller=diffrax.PIDController(rtol=setting.rtol, atol=setting.rtol),
            max_steps=MOST_STEPS,
            throw=False,  # what was not reached is inf, and is found when it is read
        )

        def one(data: Any) -> Any:
            def advance(piece: Piece, state: Any, stops: Array) -> Any:
                method, span = getattr(diffrax, solver)(), (piece.start, piece.end)
                saved = diffrax.SaveAt(ts=jnp.asarray(stops))
                return solve(term, method, *span, None, state, (piece, data), saveat=saved).ys

            states = jnp.stack(_walk(setting, jnp.zeros(n) if dual else data, advance))
            if not dual:
                return states[:, 0] * states[:, 1]
            totals = jnp.asarray(setting.schedule.total(setting.times))
            p, q = jnp.moveaxis(jax.vmap(masses, (0, 0, None))(totals, states, data), 1, 0)
            return p - q

        data = jnp.asarray(setting.log_masses if dual else setting.state)
        compiled = jax.jit(jax.vmap(one))
        return lambda: jax.block_until_ready(compiled(data))

    runs = len(setting.factors)
    label = f"diffrax {solver}, {coordinates} × {runs}"
    return Entry(label, runs, prepare, _read_array, ("diffrax", "jax"), note="vmapped")


def torchdiffeq_flows(setting: FlowSetting) -> Entry:
    """torchdiffeq's dopri5 on (m, w) of all starts at once, which share a step size."""
    runs = len(setting.factors)

    def prepare() -> Callable[[], Array]:
        import torch
        from torchdiffeq import odeint

        Z, y = torch.tensor(setting.problem.Z), torch.tensor(setting.problem.y)

        def advance(piece: Piece, state: Any, stops: Array) -> Any:
            def derivative(t: Any, state: Any) -> Any:
                m, w = state.unbind(1)
                grad_f = ((m * w) @ Z.T - y) @ Z / setting.problem.n
                return torch.stack([-w * grad_f, -m * grad_f], 1) - 2 * piece.alpha * state

            tolerances = {"rtol": setting.rtol, "atol": setting.rtol}
            return odeint(derivative, state, torch.tensor(stops), method="dopri5", **tolerances)

        def compute() -> Array:
            with torch.no_grad():
                states = torch.stack(_walk(setting, torch.tensor(setting.state), advance), 1)
                return (states[:, :, 0] * states[:, :, 1]).numpy()

        return compute

    label = "torchdiffeq dopri5, (m, w)" + (f" × {runs}" if runs > 1 else "")
    return Entry(label, runs, prepare, _read_array, ("torchdiffeq",))


def descent(setting: FlowSetting, steps: int) -> Entry:
    """torch.optim.SGD on (m, w) at the paper's η, without penalty, extrapolated from `steps`.

    A step is 2η of flow time. Its error is that at the time which the measured steps reach.
    """
    if setting.schedule.strength:
        raise ValueError("gradient descent is measured without penalty only")
    one = setting.first(1)
    wanted = float(setting.times[-1]) / (2 * ETA)

    def prepare() -> Callable[[], Array]:
        import torch

        Z, y = torch.tensor(one.problem.Z), torch.tensor(one.problem.y)

        def compute() -> Array:
            m, w = (torch.tensor(part, requires_grad=True) for part in one.state[0])
            optimizer = torch.optim.SGD([m, w], lr=ETA)
            for _ in range(steps):
                optimizer.zero_grad()
                torch.mean((Z @ (m * w) - y) ** 2).backward()
                optimizer.step()
            return (m * w).detach().numpy()

        return compute

    def read(x: Array) -> Answer:
        times = np.array([0.0, 2 * ETA * steps])
        exact = mf.direct_flow(one.problem, one.factors[0], one.schedule, times, 1e-12).x[-1]
        return Answer(None, {"error": float(np.abs(x - exact).max())})

    note = f"extrapolated from {steps:,} to {wanted:,.0f} steps; error at t = {2 * ETA * steps:g}"
    return Entry("torch SGD, η = 1e-4", 1, prepare, read, ("torch",), wanted / steps, note)
