r"""Any separable function of a user's as a parametrization: x = g(θ), by its flow map.

In each coordinate θ′(μ) = ∇g(θ) from θ₀ gives X(μ) = g(θ(μ)), so that all of it is known once that
is integrated (`tabulated`). A penalty h with [∇g, ∇h] = −κ∇g and ⟨∇g, ∇h⟩ = δg acts by a scale
e^{−δA} and a weight e^{−κA}; one that commutes (κ = 0) but does not scale moves the start of the
flow map to exp(−A∇h)θ₀.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from mirrorflow.checks import Array, InputError, real_array
from mirrorflow.compiled.options import Kernel
from mirrorflow.derivatives import Function, Squares, differentiable
from mirrorflow.maps import tabulated
from mirrorflow.maps.base import Mask, MirrorMap

__all__ = ["Custom"]

EPS = float(np.finfo(float).eps)
EXACT, DIFFERENCES = (
    1e3 * EPS,
    1e-8,
)  # error of a bracket, where second derivatives are exact or not
NEAR = 0.1  # how far from θ₀, relative to each entry, the penalty's law is tried
POINTS = 4


class Custom(MirrorMap):
    r"""A separable function g of the user's, from a start θ₀, with a penalty h.

    x_j = g_j(θ_{1j}, …, θ_{Kj}): each coordinate has K parameters of its own.

    Parameters
    ----------
    g : function of θ (K, d), returning x (d,)
        Of torch operations (float64; derivatives by torch.func), or of NumPy operations that take
        complex numbers (derivatives by complex steps: √(θ²) in place of |θ|). Twice differentiable.
    theta : (K, d) array
        θ₀, where no coordinate's ∇g vanishes.
    penalty : function of θ, returning a scalar, optional
        h of α_t h(θ), a sum over coordinates, written like g. Default: ‖θ‖².

    Attributes
    ----------
    certificate : Certificate
        Whether [∇g, ∇h] = −κ∇g, near θ₀; see `commuting.regularizer_scale`. Bound: 1000 eps √(Kd),
        and 1e-9 √(Kd) for NumPy operations.
    kappa, decay : float
        κ and δ; nan where the penalty has none.

    Notes
    -----
    Where decay has κ and δ every schedule has a dual form: so for weight decay on any homogeneous
    g. Where h commutes and δ is missing, `interpolator` and `potential` take any A and
    `gradient_flow` none. Else only `direct_flow` takes decay. X and X′ are tabulated to some 1e-13
    of their size, once for each start (0.1 to 1 s), up to the end of the domain (where θ blows up
    or ∇g is singular), or where X′ has changed by a factor 1e40; no flow passes these ends.
    `direct_flow` uses SciPy's Radau, as compiled code can't call a user's function.

    Raises
    ------
    InputError
        If shapes don't fit, g or h mix coordinates, are not differentiable near θ₀, or ∇g
        vanishes there.

    Examples
    --------
    >>> start = Custom(lambda theta: np.sinh(theta[0]), [[0.0, 1.0]])
    >>> start.x
    array([0.        , 1.17520119])
    >>> start.potential().inverse_gradient([0.5, 0.0])  # tan μ from x = 0
    array([0.54630249, 1.17520119])
    """

    point: ClassVar[Kernel] = tabulated.point
    written = None

    def __init__(
        self, g: Callable[[Any], Any], theta: ArrayLike, penalty: Callable[[Any], Any] | None = None
    ) -> None:
        self._theta = theta = real_array("theta", theta, 2)
        self.function = differentiable("g", g, theta, theta.shape[1:])
        steep = np.linalg.norm(self.function.gradient(theta), axis=0)
        if not steep.all():
            j = int(np.argmin(steep))
            raise InputError(
                f"theta must not stop g, but ∇g vanishes in column {j}, {theta[:, j]}: it would "
                "never move."
            )
        self.penalty: Function = Squares()
        if penalty is not None:
            self.penalty = differentiable("penalty", penalty, theta, ())

    @functools.cached_property
    def _law(self) -> tuple[Any, float, float]:
        """The certificate of κ; κ and δ, nan where they are none."""
        from mirrorflow.commuting import scale_of_penalty, terms_of_penalty

        theta, noise = self._theta, np.random.default_rng(0)
        sizes = NEAR * np.where(theta != 0, np.abs(theta), np.linalg.norm(theta, axis=0))
        points = [theta + sizes * noise.uniform(-1.0, 1.0, theta.shape) for _ in range(POINTS)]
        exact = self.function.exact and self.penalty.exact
        bound = (EXACT if exact else DIFFERENCES) * math.sqrt(theta.size)
        terms = [terms_of_penalty([self.function], self.penalty, at) for at in points]
        certificate, kappa = scale_of_penalty(terms, bound)
        if not certificate.holds:
            return certificate, math.nan, math.nan
        values = np.array([self.function.value(at) for at in points])
        falls = np.array([self.function.gradient(at) * self.penalty.gradient(at) for at in points])
        delta = float(np.vdot(falls.sum(1), values) / max(np.vdot(values, values), 1e-300))
        misfit = np.linalg.norm(falls.sum(1) - delta * values)
        holds = misfit <= bound * np.linalg.norm(falls)
        kappa, delta = round(kappa, 12), round(delta, 12) if holds else math.nan
        return certificate, kappa if holds or kappa == 0.0 else math.nan, delta

    @property
    def certificate(self) -> Any:
        """Whether [∇g, ∇h] = −κ∇g near θ₀."""
        return self._law[0]

    @property
    def kappa(self) -> float:
        """κ, or nan."""
        return self._law[1]

    @property
    def decay(self) -> float:
        """δ, or nan."""
        return self._law[2]

    @property
    def theta(self) -> Array:
        """θ₀, (K, d)."""
        return self._theta

    def g(self, theta: Array) -> Array:
        """x of θ, (…, K, d) to (…, d)."""
        points = theta.reshape(-1, *self._theta.shape)
        rows = [self.function.value(one) for one in points]
        return np.reshape(rows, theta.shape[:-2] + theta.shape[-1:])

    def grad_g(self, theta: Array) -> Array:
        """∂g/∂θ_k, (…, K, d)."""
        rows = [self.function.gradient(one) for one in theta.reshape(-1, *self._theta.shape)]
        return np.reshape(rows, theta.shape)

    @functools.cached_property
    def _map(self) -> tabulated.FlowMap:
        return tabulated.tabulate_flow(self.function, self._theta)

    def parts(self) -> Array:
        """The table of X, (rows, d)."""
        return self._map.parts(self.decay if math.isfinite(self.decay) else 0.0)

    def parameters(self, total: Array, mu: Array) -> Array:
        """θ = exp(−A∇h) of the flow map, (T, K, d), at μ (T, d) and A (T,)."""
        return np.stack([self._decayed(self._map.at(m), A) for A, m in zip(total, mu, strict=True)])

    @property
    def domain(self) -> tuple[Array, Array]:
        """The ends of the table."""
        return self._map.edges[0], self._map.edges[-1]

    @property
    def range(self) -> tuple[Array, Array]:
        """X at the ends of the table."""
        low, high = self.domain
        return self.at(low)[0], self.at(high)[0]

    @property
    def signs(self) -> tuple[Mask, Mask]:
        """Whether X is positive, and negative, at the ends of the table."""
        low, high = self.range
        return high > 0, low < 0

    @property
    def moves(self) -> bool:
        """Whether the penalty commutes with g and does not scale it."""
        return self.kappa == 0.0 and math.isnan(self.decay)

    def after(self, total: float) -> Custom:
        """The start exp(−A∇h)θ₀."""
        return self.through(self._decayed(self._theta, total))

    def through(self, theta: Array) -> Custom:
        """The same g and h from another θ₀."""
        moved = Custom.__new__(Custom)
        moved.function, moved.penalty, moved._law = self.function, self.penalty, self._law
        moved._theta = theta
        return moved

    def check_decay(self, what: str, total: float) -> None:
        """Refuse decay that neither scales nor, where A enters inside, has a table."""
        if total > 0 and not math.isfinite(self.decay):
            if self.moves:
                why = (
                    "penalty commutes with g but does not scale it; use direct_flow, or for one A "
                    "interpolator and potential"
                )
            else:
                size = self.certificate.value
                why = f"penalty's bracket with g is off −κ∇g by {size:.2g}; use direct_flow"
            raise InputError(f"{what} must be 0 for this Custom, but it is {total:g}: its {why}.")

    def _decayed(self, theta: Array, total: float) -> Array:
        """exp(−A∇h)θ, (K, d)."""
        if isinstance(self.penalty, Squares):
            return math.exp(-2.0 * total) * theta
        if total == 0.0:
            return theta
        with np.errstate(all="ignore"):
            run = solve_ivp(
                lambda _, state: -self.penalty.gradient(state.reshape(theta.shape)).ravel(),
                (0.0, total),
                theta.ravel(),
                "DOP853",
                rtol=1e-12,
                atol=1e-14 * float(np.abs(theta).max()),
            )
        if not (run.success and np.isfinite(run.y[:, -1]).all()):
            raise InputError(
                f"total must be one that the penalty's own flow reaches, but that flow ends at "
                f"{run.t[-1]:.4g} before {total:g}."
            )
        return run.y[:, -1].reshape(theta.shape)
