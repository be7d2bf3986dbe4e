r"""Mirror maps: a start θ₀ of what is trained, x = g(θ), and the potential that it induces.

Gradient flow of f(g(θ)) + α_t‖θ‖² is, where g acts on each coordinate of x alone and is homogeneous
of degree L, a mirror flow of e^{δA}x with a reweighted gradient:

    x_t = e^{−δA_t} X(μ_t),    μ_t = −∫₀ᵗ e^{−κA_s} ∇f(x_s) ds,    δ = 2L,    κ = 2(L − 2).

X is increasing in each coordinate, X(0) = x₀, X′ = |∂g|² is the inverse metric, and the potential
is the Legendre conjugate of Q = ∫X. For m ⊙ w (L = 2) that is Theorem 2.1 of Jacobs & Burkholz.
A new parametrization is one file with a subclass of `MirrorMap`; see docs/extending.md.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array, InputError, number, vector
from mirrorflow.compiled.options import Kernel
from mirrorflow.display import Displayed

__all__ = ["MirrorMap", "Potential"]

X, DX, RATES, Q, POINT = range(5)  # rows that `point` fills
Mask = NDArray[np.bool_]
EPS = float(np.finfo(float).eps)
GOLDEN = 0.381966011250105


class MirrorMap(Displayed):
    """A start θ₀ of x = g(θ), g acting on each coordinate alone.

    A subclass is a frozen dataclass of arrays with the members below.

    Attributes
    ----------
    degree : float
        L, where g is homogeneous. nan where it is not: then only flows without decay have a dual
        form (`direct_flow` integrates any).
    decay, kappa : float
        δ = 2L and κ = 2(L − 2) of weight decay α‖θ‖², as above.
    rate : float
        The relative rate at which the parts of x change with μ, where it is the same for all
        coordinates; else 0, and `point` gives it.
    point : Kernel
        Of `options.MAP`: (parts, low, high, A, μ, out). Fills at the columns low … high the rows of
        `out`: e^{−δA}X(μ), e^{−δA}X′(μ), the relative rate of the parts (unless `rate` is set) and,
        where `out` has a fourth row, e^{−δA}Q(μ), up to a constant. Beyond an end of the domain X
        and X′ are ∓inf and inf, or all is nan: so a step that leaves it is noticed.
    written : Kernel
        Of `options.MAP`: (θ, low, high, `parameter`, scratch, out). Fills the rows of `out`: g, its
        K first derivatives, and where `out` has rows for them the K(K + 1)/2 second ones, ∂_k∂_l
        for k ≤ l.
        None where compiled code can't call g (`Custom`), or nothing is written in θ (`LogFactors`).

    Examples
    --------
    >>> from mirrorflow import Factors
    >>> isinstance(Factors.pilot([0.0]), MirrorMap), Factors.pilot([0.0]).decay
    (True, 4.0)
    """

    __slots__ = ()
    rate: ClassVar[float] = 0.0
    point: ClassVar[Kernel]
    written: ClassVar[Kernel | None] = None

    @property
    def degree(self) -> float:
        """L, or nan."""
        return math.nan

    @property
    def decay(self) -> float:
        """δ = 2L."""
        return 2.0 * self.degree

    @property
    def kappa(self) -> float:
        """κ = 2(L − 2)."""
        return 2.0 * (self.degree - 2.0)

    @property
    def parameter(self) -> float:
        """The number passed to `written`; here L."""
        return self.degree

    @property
    def theta(self) -> Array:
        """θ₀, (K, d)."""
        raise NotImplementedError

    def g(self, theta: Array) -> Array:
        """x of θ, (…, K, d) to (…, d)."""
        raise NotImplementedError

    def grad_g(self, theta: Array) -> Array:
        """∂g/∂θ_k, (…, K, d) like θ."""
        (K, d), written = theta.shape[-2:], self.written
        if written is None:  # and the map does not compute ∂g itself
            raise InputError(
                f"start must have x written in θ, as Factors has, but {type(self).__name__} hasn't."
            )
        flat = np.moveaxis(theta, -2, 0).reshape(K, -1)
        out, unused = np.empty((K + 1, flat.shape[1])), np.empty(flat.shape[1])
        written(np.array(flat), 0, flat.shape[1], float(self.parameter), unused, out)
        return np.moveaxis(out[1:].reshape(K, *theta.shape[:-2], d), 0, -2)

    def separated(self, theta: Array) -> Array:
        """Combinations of θ that a flow carries each by itself, (…, K, d); here θ itself."""
        return theta

    def invariants(self, theta: Array) -> tuple[Array, Array]:
        """What only decay changes along a flow: M functions of θ, (…, M, d), homogeneous like g.

        And by how much relative errors of the vectors (θ_1, …, θ_K)_j may change them, in the same
        shape.
        """
        none = np.empty((*theta.shape[:-2], 0, theta.shape[-1]))
        return none, none

    def shortest(self, x: Array) -> Array:
        """The shortest θ with g(θ) = x (d,), (K, d), to which decay without end leads."""
        raise NotImplementedError

    def through(self, theta: Array) -> MirrorMap:
        """The same map from another θ₀, (K, d)."""
        raise InputError(
            "start must be a map that begins anywhere on its path, such as Factors, but it is "
            f"{type(self).__name__}."
        )

    @property
    def moves(self) -> bool:
        """Whether decay has no scale, but moves the start: R_A is that of `after(A)` at A = 0."""
        return False

    def after(self, total: float) -> MirrorMap:
        """The start that decay A moves θ₀ to, where it `moves`."""
        raise NotImplementedError

    def parts(self) -> Array:
        """What `point` knows of the start, any number of rows, (…, d)."""
        raise NotImplementedError

    def parameters(self, total: Array, mu: Array) -> Array:
        """θ, (T, K, d), at μ (T, d) and A (T,)."""
        raise NotImplementedError

    @property
    def domain(self) -> tuple[Array, Array]:
        """The open interval of μ in each coordinate, (d,) each; ∓inf where it has no end."""
        ends = np.full(self.d, np.inf)
        return -ends, ends

    @property
    def signs(self) -> tuple[Mask, Mask]:
        """Whether each coordinate of x can be positive, and whether it can be negative; bool."""
        can = np.full(self.d, True)
        return can, can

    @property
    def range(self) -> tuple[Array, Array]:
        """The least and largest X of each coordinate, (d,) each: here 0 or ∓inf."""
        positive, negative = self.signs
        return np.where(negative, -np.inf, 0.0), np.where(positive, np.inf, 0.0)

    @property
    def weights(self) -> tuple[Array, Array]:
        """t^± of Σ t⁺x⁺ + t⁻x⁻, R for large x: ends of the domain, 1 if L = 2, inf off `signs`."""
        if not self.degree >= 2.0:
            name = f"{type(self).__name__} of degree {self.degree:g}"
            raise InputError(f"total must be finite for {name}: R is no weighted L1 norm there.")
        low, high = self.domain if self.degree > 2.0 else (np.full(self.d, -1.0), np.ones(self.d))
        positive, negative = self.signs
        return np.where(positive, high, np.inf), np.where(negative, -low, np.inf)

    @property
    def d(self) -> int:
        """Number of coordinates of x."""
        return int(self.theta.shape[-1])

    @property
    def x(self) -> Array:
        """g(θ₀), shape (d,)."""
        return self.g(self.theta)

    def at(self, mu: Array, total: float = 0.0) -> Array:
        """The rows of `point` at μ (d,) after total A, (4, d)."""
        out = np.full((POINT, self.d), self.rate)
        arguments = np.ascontiguousarray(self.parts()), 0, self.d, float(total)
        self.point(*arguments, np.array(mu, dtype=float), out)
        out[Q, np.isinf(out[X])] = np.inf  # beyond an end of the domain
        return out

    def potential(self, total: float = 0.0) -> Any:
        """The potential after total A."""
        return Potential(self, number("total", total, 0.0))

    def check_decay(self, what: str, total: float) -> None:
        """Refuse decay where it has no law."""
        if total > 0 and not np.isfinite(self.kappa):
            raise InputError(
                f"{what} must be 0 for {type(self).__name__}, whose potential weight decay neither "
                f"scales nor shifts, but it is {total:g}; use direct_flow."
            )

    def _facts(self) -> dict[str, Any]:
        return {"d": self.d, "layers": len(self.theta), "largest_x": float(np.abs(self.x).max())}


class Potential(Displayed):
    r"""R_A(x) = e^{−δA} R(e^{δA}x), R = Q* of a map; up to a constant.

    ∇R_A(x) = X⁻¹(e^{δA}x), so that x_t = argmin {R_{A_t}(x) : Zx = Zx_t} along a flow. Values are
    +inf outside of the domain, where only x of some signs can be reached.

    Parameters
    ----------
    start : MirrorMap
    total : float ≥ 0
        A.

    Examples
    --------
    >>> from mirrorflow import Powers
    >>> Powers([1.0], [1.0], depth=3).potential(0.5).minimizer
    array([0.])
    """

    def __init__(self, start: MirrorMap, total: float) -> None:
        if start.moves:
            start, total = start.after(total), 0.0
        start.check_decay("total", total)
        self.start, self.total = start, total

    def _facts(self) -> dict[str, Any]:
        return {"map": type(self.start).__name__, "d": self.start.d, "total": self.total}

    @property
    def domain(self) -> tuple[Array, Array]:
        """Lower and upper end of each coordinate's domain of x, (d,) each."""
        scale = math.exp(-self.start.decay * self.total) if self.total > 0 else 1.0
        lower, upper = self.start.range
        return scale * lower, scale * upper

    @property
    def minimizer(self) -> Array:
        """argmin R_A = e^{−δA} x₀, the positional bias, shape (d,)."""
        return self.inverse_gradient(np.zeros(self.start.d))

    def inverse_gradient(self, theta: Array) -> Array:
        """The x with ∇R_A(x) = θ, shape (d,)."""
        return self.start.at(self._point("theta", theta), self.total)[X]

    def metric(self, theta: Array) -> Array:
        """1/R_A″ at ∇R_A(x) = θ, shape (d,)."""
        return self.start.at(self._point("theta", theta), self.total)[DX]

    @property
    def floor(self) -> Array:
        """Least 1/R_A″ over x, (d,); 1/R_A″ falls and then rises with μ (golden section)."""

        def height(mu: Array) -> Array:
            return self.start.at(mu, self.total)[DX]

        low, high = self.start.domain
        width, here = np.ones(self.start.d), height(np.zeros(self.start.d))
        for _ in range(10):  # further out it falls without end: the floor is 0
            sides = np.maximum(low, -width), np.minimum(high, width)
            width = np.where(np.minimum(*map(height, sides)) < here, 2.0 * width, width)
        left, right = np.maximum(low, -width), np.minimum(high, width)
        for _ in range(80):
            inner = left + GOLDEN * (right - left), right - GOLDEN * (right - left)
            lower = height(inner[0]) < height(inner[1])
            left, right = np.where(lower, left, inner[0]), np.where(lower, inner[1], right)
        return height(0.5 * (left + right))

    def split(self, theta: Array) -> tuple[Array, Array]:
        """x = p − q with p, q ≥ 0 at ∇R_A(x) = θ."""
        x = self.inverse_gradient(theta)
        return np.maximum(x, 0.0), np.maximum(-x, 0.0)

    def gradient(self, x: Array) -> Array:
        """∇R_A(x) = X⁻¹(e^{δA}x), shape (d,), by Newton's method within a bracket.

        ∓inf at x = 0 where the sign is locked, 0 where x ≡ 0.
        """
        x = self._point("x", x)
        lower, upper = self.domain
        outside = (x < lower) | (x > upper)
        if outside.any():
            i = int(np.argmax(outside))
            raise InputError(f"x must lie in the domain of R, but x[{i}] = {x[i]:g} does not.")
        positive, negative = self.start.signs
        edge = (x == 0) & ~(positive & negative)
        mu = _invert(self.start, np.where(edge, self.minimizer, x), self.total)
        return np.where(edge, np.where(positive, -np.inf, np.where(negative, np.inf, 0.0)), mu)

    def hessian_diagonal(self, x: Array) -> Array:
        """Diagonal of ∇²R_A(x) = 1/(e^{−δA}X′), shape (d,)."""
        with np.errstate(divide="ignore"):
            return 1.0 / self.metric(self.gradient(x))

    def value(self, x: Array) -> float:
        """R_A(x) = ⟨x, ∇R_A(x)⟩ − e^{−δA}ΣQ; +inf outside of the domain."""
        x = self._point("x", x)
        lower, upper = self.domain
        if (x < lower).any() or (x > upper).any():
            return float("inf")
        return float(np.sum(self.terms(x, self.gradient(x))))

    def terms(self, x: Array, gradient: Array) -> Array:
        """R_A by coordinate, (d,), given ∇R_A(x)."""
        return _times(x, gradient) - self.conjugate(gradient)

    def conjugate(self, theta: Array) -> Array:
        """R_A* by coordinate, e^{−δA}Q, (d,); its limit at ∓∞."""
        theta = np.clip(theta, -1e300, 1e300)
        return self.start.at(self._point("theta", theta), self.total)[Q]

    def divergence(self, x: Array, y: Array) -> float:
        """D(x, y) = R_A(x) − R_A(y) − ⟨∇R_A(y), x − y⟩ ≥ 0; inf outside of the domain."""
        x, y = self._point("x", x), self._point("y", y)
        lower, upper = self.domain
        if ((x < lower) | (x > upper) | (y < lower) | (y > upper)).any():
            return float("inf")
        at_x, at_y = self.gradient(x), self.gradient(y)
        conjugates = self.conjugate(at_y) - self.conjugate(at_x)
        with np.errstate(invalid="ignore"):  # both on the edge
            apart = np.where(x == y, 0.0, at_x - at_y)
        return float(np.maximum(conjugates + _times(x, apart), 0.0).sum())

    def _point(self, name: str, value: Array) -> Array:
        return vector(name, value, self.start.d, "one for each coordinate")


def _times(x: Array, mu: Array) -> Array:
    """xμ, and 0 at x = 0, where μ may be infinite."""
    return x * np.where(x == 0, 0.0, mu)


def _invert(start: MirrorMap, x: Array, total: float) -> Array:
    """μ with e^{−δA}X(μ) = x."""
    low, high = (np.array(end, dtype=float) for end in start.domain)
    # a bracket: from 0 on by doubling, or halving what is left to an end of the domain
    left, right = np.zeros(start.d), np.zeros(start.d)
    step = np.ones(start.d)
    now = start.at(left, total)[X]
    rising = x > now
    for _ in range(2000):
        short = np.where(rising, start.at(right, total)[X] < x, start.at(left, total)[X] > x)
        if not short.any():
            break
        ahead = np.where(np.isfinite(high), right + 0.5 * (high - right), right + step)
        back = np.where(np.isfinite(low), left + 0.5 * (low - left), left - step)
        moved = short & rising
        left, right = np.where(moved, right, left), np.where(moved, ahead, right)
        moved = short & ~rising
        left, right = np.where(moved, back, left), np.where(moved, left, right)
        step = np.where(short, 2.0 * step, step)
    mu = 0.5 * (left + right)
    for _ in range(200):
        rows = start.at(mu, total)
        below = rows[X] < x
        left, right = np.where(below, mu, left), np.where(below, right, mu)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            newton = mu - (rows[X] - x) / rows[DX]
        middle = 0.5 * (left + right)
        after = np.where((newton > left) & (newton < right), newton, middle)
        # a Newton step from afar can be too short to count: then halve
        stuck = np.abs(after - mu) < 0.1 * (right - left)
        close = np.abs(rows[X] - x) <= 1e-3 * np.abs(x)
        after = np.where(stuck & ~close, middle, after)
        if (np.abs(after - mu) <= 2.0 * EPS * np.abs(mu)).all():
            break
        mu = after
    return mu
