"""Schedule: the members that a schedule has, and its constructor from α(t) alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from abc import ABCMeta as _ProtocolMeta
else:
    _ProtocolMeta = type(Protocol)

__all__ = ["Schedule"]


class _WithOf(_ProtocolMeta):
    """Gives `Schedule` its constructor, which no other schedule needs to have."""

    def of(
        cls,
        alpha: Callable[[Any], Any],
        breakpoints: ArrayLike = (),
        *,
        total_infinity: float | None = None,
        alpha_infinity: float | None = None,
    ) -> Schedule:
        """The schedule with this α(t), integrated by quadrature: A to 1e-12 relative.

        Assumed of α: it is smooth between the breakpoints and settles, so that scipy's
        `quad_vec` finds ∫α on every piece of a grid that doubles up to t = 1e50; what oscillates
        for ever is refused. dα/dt is that of a polynomial through 21 points of a piece.

        Parameters
        ----------
        alpha : function of an array of times, or of one time
            α(t) ≥ 0, right-continuous.
        breakpoints : ascending times, optional
            Where α jumps or bends.
        total_infinity : float ≥ 0 or inf, optional
            ∫α to infinity. Found where α has died away at 1e50 or falls no faster than 1/t;
            between the two it must be given.
        alpha_infinity : float ≥ 0, optional
            lim α. Found: α(1e50) where α no longer changes, else 0.

        Raises
        ------
        InputError
            If α is negative, ∫α can't be found, or does not fit what is given.

        Examples
        --------
        >>> import numpy as np
        >>> warm = Schedule.of(lambda t: 0.5 * t * np.exp(-t))
        >>> round(warm.total_infinity, 12), round(float(warm.total(1.0)), 12)
        (0.5, 0.132120558829)
        """
        from mirrorflow.integrated_schedules import IntegratedSchedule

        return IntegratedSchedule(alpha, breakpoints, total_infinity, alpha_infinity)


@runtime_checkable
class Schedule(Protocol, metaclass=_WithOf):
    """What flows, limits and `descend` need of a schedule; any object with these members will do.

    Where A has no formula, `Schedule.of` integrates. Functions with schedules check one of your
    own: α ≥ 0, A grows by ∫α, and A(t) + remaining(t) = A_∞ at a few times.

    Attributes
    ----------
    breakpoints : sequence of float
        Times > 0 at which α jumps.
    total_infinity : float
        A_∞, may be inf.
    alpha_infinity : float
        lim α.
    alpha, total : functions of a time or an array of times
        α(t) and A(t).
    slope, remaining : functions of one time
        dα/dt, and A_∞ − A(t).

    Examples
    --------
    >>> import numpy as np
    >>> class Ramp:  # α(t) = α(1 − t/T) until T
    ...     def __init__(self, alpha, end):
    ...         self.strength, self.end = alpha, end
    ...         self.total_infinity, self.alpha_infinity = 0.5 * alpha * end, 0.0
    ...         self.breakpoints = (end,)
    ...     def alpha(self, t):
    ...         return self.strength * np.maximum(1.0 - np.asarray(t) / self.end, 0.0)
    ...     def total(self, t):
    ...         return self.total_infinity - self.remaining(t)
    ...     def slope(self, t):
    ...         return -self.strength / self.end if t < self.end else 0.0
    ...     def remaining(self, t):
    ...         return self.total_infinity * np.maximum(1.0 - np.asarray(t) / self.end, 0.0) ** 2
    >>> from mirrorflow import Factors, Regression, gradient_flow
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> flow = gradient_flow(problem, Factors.pilot([0.0, 0.0]), Ramp(0.5, 4.0), [1.0, np.inf])
    >>> flow.total
    array([0.4375, 1.    ])
    """

    @property
    def total_infinity(self) -> float:
        """A_∞ = ∫₀^∞ α, possibly inf."""

    @property
    def alpha_infinity(self) -> float:
        """lim α_t for t → ∞."""

    @property
    def breakpoints(self) -> tuple[float, ...]:
        """Times > 0 at which α jumps; integrators stop there."""

    def alpha(self, t: Any) -> Any:
        """α(t) at a time or an array of times, right-continuous."""

    def total(self, t: Any) -> Any:
        """A(t) = ∫₀ᵗ α, at a time or an array of times."""

    def slope(self, t: float) -> float:
        """dα/dt between breakpoints."""

    def remaining(self, t: float) -> float:
        """A_∞ − A(t), computed without cancellation."""
