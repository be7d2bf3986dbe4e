"""Derivatives of a user's function, by torch.func or, for NumPy operations, by complex steps.

With NumPy ∂_k f = Im f(θ + iεe_k)/ε is exact but for rounding, where the operations take complex
numbers (θ.real, abs, max and comparisons don't: write √(θ²) for |θ|). Second derivatives are
differences of order 8 of it, to some 1e-11 of their size.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mirrorflow.checks import Array, InputError

__all__ = ["Function", "Squares", "check_smooth", "differentiable", "first_line"]

IMAGINARY = 1e-50
STEP = 1e-5  # of the differences that a derivative is held against, relative to θ
# of a central difference of order 8, at ±1 … ±4 steps
CENTRAL = (4.0 / 5.0, -1.0 / 5.0, 4.0 / 105.0, -1.0 / 280.0)
SHORT, SHORTEST = 1e-2, 1e-4  # its steps, relative to each entry of θ and to the largest


class Function:
    """f: θ (K, d) to (d,), acting on each coordinate alone, or to a scalar; with derivatives.

    Attributes
    ----------
    exact : bool
        Whether second derivatives are exact but for rounding.
    stacked : bool
        Whether it takes (K, P, d) as P points at once, as what is written entry by entry does.
    """

    exact = True
    stacked = False

    def __init__(self, name: str, function: Callable[[Any], Any], shape: tuple[int, ...]) -> None:
        self.name, self.function, self.shape = name, function, shape

    def value(self, theta: Array) -> Array:
        """f(θ); (d,) or ()."""
        raise NotImplementedError

    def gradient(self, theta: Array) -> Array:
        """∇ of the sum of f's values, (K, d); where it is `stacked`, (K, P, d) too."""
        raise NotImplementedError

    def along(self, theta: Array, v: Array) -> Array:
        """The derivative of `gradient` along v, (K, d)."""
        raise NotImplementedError

    def gradients(self, points: Array) -> Array:
        """`gradient` at several points, (P, K, d)."""
        if self.stacked:
            return self.gradient(points.swapaxes(0, 1)).swapaxes(0, 1)
        return np.stack([self.gradient(point) for point in points])

    def blocks(self, theta: Array) -> Array:
        """∂_k∂_l f of each coordinate, (K, K, d)."""
        directions = np.eye(len(theta))[:, :, None] * np.ones_like(theta)
        return np.stack([self.along(theta, v) for v in directions])

    def checked(self, theta: Array, alone: bool = False) -> Function:
        """Itself; refuse wrong shapes, kinks at θ and, where `alone`, what mixes coordinates."""
        value = self.value(theta)
        if value.shape != self.shape:
            text = f"an array of shape {self.shape}" if self.shape else "a scalar"
            raise InputError(f"{self.name} must return {text}, but its shape is {value.shape}.")
        sizes = np.where(theta != 0, np.abs(theta), np.linalg.norm(theta, axis=0))
        v = np.where(sizes > 0, sizes, 1.0) * np.random.default_rng(0).standard_normal(theta.shape)
        gradient, hessian_v = self.gradient(theta), self.along(theta, v)
        if not all(np.isfinite(array).all() for array in (value, gradient, hessian_v)):
            raise InputError(
                f"{self.name} must be twice differentiable, but a derivative is not finite."
            )
        if alone:
            _check_alone(self.name, self.value if self.shape else self.gradient, theta)
            self.stacked = bool(self.shape) and self._stacks(np.stack([theta, theta + 0.01 * v]))
        change = (gradient * v).sum(0 if self.shape else None)
        check_smooth(self.name, [(self.value, change), (self.gradient, hessian_v)], theta, v)
        return self

    def _stacks(self, points: Array) -> bool:
        try:
            together, single = self.value(points.swapaxes(0, 1)), [self.value(p) for p in points]
        except Exception:  # a user's function may raise anything
            return False
        return together.shape == np.shape(single) and np.allclose(together, single, 1e-13, 0.0)


class ByTorch(Function):
    """Of torch operations."""

    def value(self, theta: Array) -> Array:
        import torch

        try:
            value = self.function(torch.tensor(theta))
        except Exception as error:  # a user's function may raise anything
            raise InputError(
                f"{self.name} must take a tensor of shape {theta.shape}, but it raises: "
                f"{first_line(error)}"
            ) from None
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float64:
            kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
            raise InputError(f"{self.name} must return a float64 tensor, but it returns {kind}.")
        return value.detach().numpy()

    def gradient(self, theta: Array) -> Array:
        return self._by_torch(self._gradient, theta)

    def gradients(self, points: Array) -> Array:
        if self.stacked:
            return super().gradients(points)
        return self._by_torch(lambda f: f.vmap(self._gradient(f)), points)

    def along(self, theta: Array, v: Array) -> Array:
        return self._by_torch(
            lambda f: lambda t, u: f.jvp(self._gradient(f), (t,), (u,))[1], theta, v
        )

    def _gradient(self, func: Any) -> Any:
        return func.grad(lambda t: self.function(t).sum())

    def _by_torch(self, made: Callable[[Any], Any], *arrays: Array) -> Array:
        import torch

        try:
            return made(torch.func)(*map(torch.tensor, arrays)).detach().numpy()
        except Exception as error:  # torch names the operation that it can't differentiate
            raise InputError(
                f"{self.name} must be twice differentiable by torch.func, but torch says: "
                f"{first_line(error)}"
            ) from None


class ByComplexSteps(Function):
    """Of NumPy operations."""

    exact = False

    def value(self, theta: Array) -> Array:
        return np.asarray(self.function(theta), dtype=float)

    def gradient(self, theta: Array) -> Array:
        # where each coordinate has its own value, a layer's derivatives come at once
        indices: Iterable[Any] = range(len(theta)) if self.shape else np.ndindex(*theta.shape)
        out = np.empty(theta.shape)
        for index in indices:
            moved = theta.astype(complex)
            moved[index] += 1j * IMAGINARY
            out[index] = np.imag(self.function(moved)) / IMAGINARY
        return out

    def along(self, theta: Array, v: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where((theta != 0) & (v != 0), np.abs(theta / v), np.inf)
        widest = np.linalg.norm(theta, axis=0) / np.linalg.norm(v, axis=0).clip(1e-300)
        widest = np.where(widest > 0, widest, 1.0)
        step = np.clip(SHORT * ratio.min(0), SHORTEST * widest, SHORT * widest)
        turns = np.array([m * sign for m in (1, 2, 3, 4) for sign in (1, -1)])
        weights = np.repeat(CENTRAL, 2) * np.sign(turns)
        gradients = self.gradients(theta + turns[:, None, None] * (step * v))
        return np.tensordot(weights, gradients, 1) / step


class Squares(Function):
    """‖θ‖², which needs neither."""

    def __init__(self) -> None:
        super().__init__("penalty", lambda theta: (theta**2).sum(), ())

    def value(self, theta: Array) -> Array:
        return self.function(theta)

    def gradient(self, theta: Array) -> Array:
        return 2.0 * theta

    def along(self, theta: Array, v: Array) -> Array:
        return 2.0 * v


def differentiable(
    name: str, function: Callable[[Any], Any], theta: Array, shape: tuple[int, ...]
) -> Function:
    """The function with its derivatives: of NumPy operations where it takes an array, else torch's.

    Raises
    ------
    InputError
        If it is not differentiable at θ, mixes coordinates or returns another shape.
    """
    try:
        value = function(theta.copy())
    except Exception as error:  # a user's function may raise anything
        if importlib.util.find_spec("torch") is None:
            raise InputError(
                f"{name} must take an array of shape {theta.shape}, but it raises: "
                f"{first_line(error)}"
            ) from None
        value = None
    if isinstance(value, np.ndarray | np.floating):
        return ByComplexSteps(name, function, shape).checked(theta, alone=True)
    return ByTorch(name, function, shape).checked(theta, alone=True)


def check_smooth(
    name: str, pairs: Iterable[tuple[Callable[[Array], Array], Array]], theta: Array, v: Array
) -> None:
    """Refuse kinks and detached values, of which torch gives some derivative without a word.

    What one-sided differences along v, a step as long as θ, miss of each function's derivative
    along it must shrink with the step.
    """
    for function, derivative in pairs:
        here = function(theta)

        def miss(length: float, function=function, derivative=derivative, here=here) -> float:
            there = function(theta + length * v)
            return float(np.abs((there - here) / length - derivative).max())

        rounding = 1e-6 * float(np.abs(derivative).max() + np.abs(here).max())
        for side in (STEP, -STEP):
            near = miss(side / 8.0)
            if near > rounding and near > 0.5 * miss(side):
                raise InputError(
                    f"{name} must be twice differentiable where it is tried, but its differences "
                    f"miss its derivative by {near:.2g}; is there a kink or a detach(), or an abs "
                    "of NumPy?"
                )


def _check_alone(name: str, function: Callable[[Array], Array], theta: Array) -> None:
    """Refuse what mixes coordinates: column j of function(θ) may depend on column j of θ alone."""
    d = theta.shape[1]
    here = function(theta)
    lengths, noise = np.linalg.norm(theta, axis=0), np.random.default_rng(0)
    moved = theta + 0.05 * np.where(lengths > 0, lengths, 1.0) * noise.standard_normal(theta.shape)
    for bit in range((d - 1).bit_length()):  # any two columns differ in a bit of their numbers
        for side in (0, 1):
            others = (np.arange(d) >> bit & 1) == side
            change = np.abs(function(np.where(others, moved, theta)) - here).reshape(-1, d).max(0)
            change[others] = 0.0
            j = int(np.argmax(change))
            if not change[j] <= 1e-10 * np.abs(here).max():
                raise InputError(
                    f"{name} must act on each coordinate alone, but what it makes of column {j} of "
                    f"theta changes by {change[j]:.2g} where other columns do."
                )


def first_line(error: Exception) -> str:
    """The first line of a message, as one sentence."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return text if text.endswith(".") else f"{text}."
