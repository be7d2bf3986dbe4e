r"""Gains and shifts of discrete steps: what η, α and the gradients do to U = m + w and V = m − w.

A step multiplies U and V by factors, coordinate by coordinate. With the sums of their logarithms

    Λ = log(a₀/a) = −Σ log|factor of U · factor of V|,      r = ½ Σ log|factor of V/factor of U|

less a part of r in the row space of Z, x_K minimises R_a(x) + ⟨r, x⟩ over Zx = Zx_K after any
number of steps. Neither m nor w enters here, so that the sums can refute the theorem.
"""

from __future__ import annotations

import numpy as np

from mirrorflow.checks import Array
from mirrorflow.maps import Factors

__all__ = ["Gains", "MomentumGains"]

BLOCK_ENTRIES = 2**14  # of the gradients of the steps that are summed together


class Gains:
    """Λ + 2r and Λ − 2r, the gains of U² and V², without momentum."""

    def __init__(self, d: int, momentum: float, nesterov: bool) -> None:
        self.both = np.zeros((2, d))
        self.total, self.flips = 0.0, np.zeros(d, dtype=np.int64)
        self.zero = np.zeros((2, d), dtype=bool)  # factors that a step has set to 0
        self.momentum, self.nesterov = momentum, nesterov
        self.lost = np.zeros(d, dtype=bool)
        self.waiting: list[tuple[float, float, Array, Array]] = []

    def now(self) -> tuple[Array, Array, float]:
        """Λ, r and A."""
        self._sum()
        up, down = np.where(self.zero, self.both[::-1], self.both)  # of a zero factor none counts
        return 0.5 * (up + down), 0.25 * (up - down), self.total

    def add(self, eta: float, alpha: float, g: Array, ascent: Array) -> None:
        """Another step, by what it was made of."""
        self.waiting.append((eta, alpha, g, ascent))
        if len(self.waiting) * g.size >= BLOCK_ENTRIES:
            self._sum()

    def _sum(self) -> None:
        """Many steps at once, which costs a fifth of one by one."""
        if not self.waiting:
            return
        eta, alpha, g, ascent = (np.array(part) for part in zip(*self.waiting, strict=True))
        self.waiting.clear()
        delta, h = (1.0 - 2.0 * eta * alpha)[:, None], eta[:, None] * g
        # a part in the row space, which the constraint Zx = Zx_K takes up
        taken = h if ascent.any() else np.divide(h, delta, out=np.zeros_like(h), where=delta != 0.0)
        middle = delta - eta[:, None] * ascent
        self.total += float(eta @ alpha)
        for row, factors, part in ((0, middle - h, taken), (1, middle + h, -taken)):
            zero = factors == 0.0
            self.zero[row] |= zero.any(axis=0)
            factors[zero] = 1.0
            self.both[row] -= 2.0 * (np.log(np.abs(factors)) + part).sum(axis=0)
            self.flips += (factors < 0).sum(axis=0)

    def start(self, factors: Factors, ratio: float) -> Factors:
        """The start that the gains refer to."""
        m, w = factors.m * ratio**0.25, factors.w * ratio**-0.25
        u, v = np.where(self.zero, 0.0, [m + w, m - w])
        changed = self.zero.any(axis=0)
        return Factors(np.where(changed, 0.5 * (u + v), m), np.where(changed, 0.5 * (u - v), w))


class MomentumGains(Gains):
    """The same for heavy ball and Nesterov.

    With G = ±g + 2α, κ = μτσ'/(1 − σ') (σ' = ησ of the step before), τ ← μτ + κ + G and σ = τ
    (Nesterov: G + μτ) the factor of a step is 1 − ησ. Λ ± 2r = 4A − 2E with
    E = Σ_k [−η_k K_k + log|1 − η_kσ_k| + η_kσ_k], K ← μK + κ (Nesterov: μK for K in E), and A sums
    η_k a_k, a ← μa + α (Nesterov: α + μa for a).
    """

    def __init__(self, d: int, momentum: float, nesterov: bool) -> None:
        super().__init__(d, momentum, nesterov)
        self.tau, self.before, self.kappas = np.zeros((3, 2, d))
        self.alphas = 0.0

    def add(self, eta: float, alpha: float, g: Array, ascent: Array) -> None:
        mu, pull = self.momentum, 2.0 * alpha + np.stack([g, -g])
        kappa = mu * self.tau * self.before / (1.0 - self.before)
        self.tau = mu * self.tau + kappa + pull
        self.kappas = mu * self.kappas + kappa
        self.alphas = mu * self.alphas + alpha
        step = eta * (pull + mu * self.tau if self.nesterov else self.tau)
        spent = eta * (mu * self.kappas if self.nesterov else self.kappas)
        rise = eta * (alpha + mu * self.alphas if self.nesterov else self.alphas)
        factors = 1.0 - step
        self.lost |= (factors == 0.0).any(axis=0)
        self.both += 4.0 * rise - 2.0 * (np.log(np.abs(factors)) + step - spent)
        self.flips += (factors < 0).sum(axis=0)
        self.total += rise
        self.before = step
