r"""The paper's discrete schedules: one α_k for each step k = 1, 2, … of gradient descent.

The continuous schedules of `schedules.py` are functions of flow time; these count steps, or
blocks of `per` steps, because the paper (Figures 1, 4, 5) leaves the unit of k open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, zeta

from mirrorflow.checks import Array, InputError, number, whole

__all__ = ["SHAPES", "Stepwise"]

SHAPES = ("constant", "harmonic", "quadratic", "geometric")


@dataclass(frozen=True, slots=True, init=False)
class Stepwise:
    """α_k = α·φ(j), where j = ⌈k/per⌉ = 1, 2, … numbers blocks of `per` steps.

    Parameters
    ----------
    shape : str
        φ(j): "constant" 1, "harmonic" 1/j, "quadratic" 1/j², "geometric" decayʲ.
    alpha : float ≥ 0
        The strength; the first step has α_1 = α·φ(1), so α·decay for "geometric".
    per : int ≥ 1
        Steps for which j stays; 1 counts steps. The larger, the longer a decaying schedule
        acts: with `per=1` the geometric one is over after some 100 steps.
    decay : float in (0, 1)
        Only "geometric" uses it; the paper's is 0.95.

    Raises
    ------
    InputError
        If the shape is unknown or a number is out of its range.

    Examples
    --------
    >>> Stepwise("harmonic", 0.6, per=2).alpha(np.arange(1, 7))
    array([0.6, 0.6, 0.3, 0.3, 0.2, 0.2])
    """

    shape: str
    strength: float
    per: int
    decay: float

    def __init__(self, shape: str, alpha: float, per: int = 1, decay: float = 0.95) -> None:
        if not isinstance(shape, str) or shape not in SHAPES:
            raise InputError(f"shape must be one of {', '.join(SHAPES)}, but it is {shape!r}.")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "strength", number("alpha", alpha, 0.0))
        object.__setattr__(self, "per", whole("per", per, 1))
        decay = number("decay", decay, 0.0, open_low=True)
        if decay >= 1.0:
            raise InputError(f"decay must be below 1, but it is {decay!r}; use shape 'constant'.")
        object.__setattr__(self, "decay", decay)

    @classmethod
    def from_total(
        cls,
        shape: str,
        total: float,
        steps: int,
        step_size: float,
        per: int = 1,
        decay: float = 0.95,
    ) -> Stepwise:
        """The schedule whose first `steps` steps of size η sum to A = Σ η α_k = `total`.

        Parameters
        ----------
        total : float ≥ 0
            A, without unit; m² − w² falls by about e^{−4A}.
        steps : int ≥ 1
        step_size : float > 0
            η.
        """
        unit = cls(shape, 1.0, per, decay)
        step_size = number("step_size", step_size, 0.0, open_low=True)
        reached = unit.total(whole("steps", steps, 1), step_size)
        return cls(shape, number("total", total, 0.0) / reached, per, decay)

    def alpha(self, k):
        """α_k for step numbers k ≥ 1, an int or an integer array of any shape."""
        block = np.asarray((np.asarray(k) + self.per - 1) // self.per, float)
        return (self.strength * self._weight(block))[()]

    def total(self, steps, step_size: float):
        """A = Σ_{k=1}^{steps} η α_k in closed form; `steps` ≥ 0, an int or an integer array."""
        blocks, rest = np.divmod(np.asarray(steps), self.per)
        blocks = np.asarray(blocks, float)
        weights = self.per * self._weights(blocks) + rest * self._weight(blocks + 1.0)
        return (step_size * self.strength * weights)[()]

    def _weight(self, j: Array) -> Array:
        """φ(j)."""
        if self.shape == "constant":
            return np.ones_like(j)
        if self.shape == "geometric":
            return self.decay**j
        return 1.0 / (j if self.shape == "harmonic" else j * j)

    def _weights(self, j: Array) -> Array:
        """φ(1) + … + φ(j); 0 for j = 0."""
        if self.shape == "constant":
            return j
        if self.shape == "harmonic":
            return digamma(j + 1.0) - digamma(1.0)
        if self.shape == "quadratic":
            return zeta(2.0, 1.0) - zeta(2.0, j + 1.0)
        return -self.decay * np.expm1(j * np.log(self.decay)) / (1.0 - self.decay)
