r"""m ⊙ w from starts given by logarithms, which may be as small as e^{−5000}."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mirrorflow.checks import Array, number, real_array, vector, whole
from mirrorflow.compiled.options import Kernel
from mirrorflow.maps.base import MirrorMap
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.product import point

__all__ = ["LogFactors"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LogFactors(MirrorMap):
    """x = p − q with p, q > 0 given by log p₀ and log q₀: the flow of m ⊙ w from p = ¼(m + w)²,
    q = ¼(m − w)².

    For starts that floating-point m and w can't hold. `parameters` are log p and log q, and
    `gradient_flow` integrates it; `direct_flow` has no equation for it.

    Parameters
    ----------
    log_p, log_q : (d,) arrays

    Examples
    --------
    >>> start = LogFactors.of_scale(3, 2000.0)  # a = e⁻²⁰⁰⁰, x₀ = 0
    >>> start.log_p
    array([-2000.69314718, -2000.69314718, -2000.69314718])
    """

    log_p: Array
    log_q: Array
    rate: ClassVar[float] = 2.0
    point: ClassVar[Kernel] = point

    def __post_init__(self) -> None:
        log_p = real_array("log_p", self.log_p, 1)
        object.__setattr__(self, "log_p", log_p)
        object.__setattr__(self, "log_q", vector("log_q", self.log_q, log_p.size, "as log_p"))

    @classmethod
    def of_scale(cls, d: int, log_1_over_a: float) -> LogFactors:
        """x₀ = 0 and a = e^{−ℓ} in each of d coordinates: log p₀ = log q₀ = −ℓ − log 2."""
        logs = np.full(whole("d", d, 1), -number("log_1_over_a", log_1_over_a) - np.log(2.0))
        return cls(logs, logs)

    @property
    def degree(self) -> float:
        """2, that of m ⊙ w."""
        return 2.0

    @property
    def theta(self) -> Array:
        """log p₀ and log q₀, (2, d)."""
        return np.stack([self.log_p, self.log_q])

    def g(self, theta: Array) -> Array:
        """p − q, with no digits lost where they are close."""
        larger, smaller = np.max(theta, axis=-2), np.min(theta, axis=-2)
        sign = np.sign(theta[..., 0, :] - theta[..., 1, :])
        return sign * np.exp(larger) * -np.expm1(smaller - larger)

    def parts(self) -> Array:
        return self.potential().parts()

    def parameters(self, total: Array, mu: Array) -> Array:
        """log p and log q, (T, 2, d)."""
        fall = 4.0 * total[:, None]
        return np.stack([self.log_p - fall + 2.0 * mu, self.log_q - fall - 2.0 * mu], axis=1)

    def potential(self, total: float = 0.0) -> HyperbolicEntropy:
        """R_a after total A."""
        fall = 4.0 * number("total", total, 0.0)
        return HyperbolicEntropy(
            self.log_p - fall, self.log_q - fall, 0.5 * (self.log_p - self.log_q)
        )

    def _facts(self) -> dict[str, Any]:
        return {
            "d": self.d,
            "log_p_min": float(self.log_p.min()),
            "x_max": float(np.abs(self.x).max()),
        }
