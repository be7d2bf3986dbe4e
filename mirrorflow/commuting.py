r"""Commuting parametrizations: is gradient flow on x = g(θ) a mirror flow in x?

For g: R^D → R^d the Lie brackets of its gradients are

    [∇g_i, ∇g_j](θ) = ∇²g_j ∇g_i − ∇²g_i ∇g_j  ∈ R^D.

If all vanish, gradient flow θ̇ = −∇(f∘g) is a mirror flow in x for every f; if it is one for
every f, all brackets lie in the kernel of ∂g (Li, Wang, Lee, Arora 2022, Theorems 4.9 and 4.10;
Lemma C.1 of arXiv v1 of Jacobs & Burkholz). A penalty α_t h(θ) only makes the potential depend
on time where ∇h commutes with every ∇g_i as well.

Derivatives come from `torch.func` in float64. torch is loaded at the first call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.certificates import Certificate
from mirrorflow.checks import Array, InputError, real_array, whole
from mirrorflow.extras import require
from mirrorflow.problems import random_stream

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["brackets_in_kernel", "commutes", "regularizer_commutes"]

POINTS = 5
# Rounding of a bracket relative to its two terms: each is a product of derivatives of g, exact to
# some eps times the number of operations behind it. Brackets that are not 0 are of order 1.
ROUNDING = 1e3 * float(np.finfo(float).eps)
STEP = 1e-5  # of the differences that a derivative is held against


def commutes(g: Callable[[Tensor], Tensor], dim: int, at: ArrayLike | None = None) -> Certificate:
    """Whether all [∇g_i, ∇g_j] vanish: sufficient for a mirror flow.

    Parameters
    ----------
    g : function of a float64 tensor of shape (D,), returning one of shape (d,)
        Written in differentiable torch operations; twice differentiable at the points tried.
    dim : int ≥ 1
        D, the number of parameters θ.
    at : (D,) or (P, D) array, optional
        The points θ. Default: five drawn from N(0, I), the same ones at every call. g commutes
        on an open set if it does at almost every point of it; a point where terms happen to
        vanish (θ = 0 for products) shows nothing.

    Returns
    -------
    Certificate
        Value: largest |[∇g_i, ∇g_j]| over pairs and points, relative to the largest
        |∇²g_j ∇g_i| at that point; 0 where those vanish (linear g). Bound: 1000 eps √D.

    Raises
    ------
    InputError
        If g does not map (D,) to (d,), or can't be differentiated there.

    Examples
    --------
    >>> commutes(lambda theta: theta[:3] * theta[3:], dim=6).holds  # m ⊙ w
    True
    >>> commutes(lambda theta: theta[0] * theta[1:], dim=4).holds  # a mask per neuron
    False
    >>> def mine(theta):  # your own: u^L − v^L with L = 3
    ...     u, v = theta.chunk(2)
    ...     return u**3 - v**3
    >>> commutes(mine, dim=8).holds
    True
    """
    worst = 0.0
    for theta in _points(dim, at):
        _, terms = _derivatives("g", g, theta)
        worst = max(worst, _relative(terms - terms.transpose(1, 0, 2), terms))
    return Certificate.of("commutes", worst, ROUNDING * dim**0.5)


def brackets_in_kernel(
    g: Callable[[Tensor], Tensor], dim: int, at: ArrayLike | None = None
) -> Certificate:
    """Whether ∂g(θ)[∇g_i, ∇g_j] = 0 for all i, j: necessary for a mirror flow.

    Parameters and errors as in `commutes`. Value: largest |∂g [∇g_i, ∇g_j]| over pairs and
    points, relative to max |∇g_k|·max |∇²g_j ∇g_i| there. Bound: 1000 eps √D.

    Examples
    --------
    >>> brackets_in_kernel(lambda theta: theta[0] * theta[1:], dim=4).holds
    False
    """
    worst = 0.0
    for theta in _points(dim, at):
        jacobian, terms = _derivatives("g", g, theta)
        moved = (terms - terms.transpose(1, 0, 2)) @ jacobian.T
        length = float(np.linalg.norm(jacobian, axis=1).max())
        worst = max(worst, _relative(moved, length * terms))
    return Certificate.of("brackets_in_kernel", worst, ROUNDING * dim**0.5)


def regularizer_commutes(
    g: Callable[[Tensor], Tensor],
    h: Callable[[Tensor], Tensor],
    dim: int,
    at: ArrayLike | None = None,
) -> Certificate:
    """Whether [∇g_i, ∇h] = ∇²h ∇g_i − ∇²g_i ∇h vanishes for every i.

    Then the flow of f(g(θ)) + α_t h(θ) is a mirror flow with a time-dependent potential for
    every schedule α.

    Parameters
    ----------
    g, dim, at
        As in `commutes`.
    h : function of a float64 tensor of shape (D,), returning a scalar

    Returns
    -------
    Certificate
        Value: largest |[∇g_i, ∇h]| over i and points, relative to the larger of its two terms'
        largest sizes at that point. Bound: 1000 eps √D.

    Raises
    ------
    InputError
        If g or h has the wrong shape or can't be differentiated.

    Examples
    --------
    >>> product = lambda theta: theta[:3] * theta[3:]
    >>> regularizer_commutes(product, lambda theta: (theta**2).sum(), dim=6).holds
    True
    >>> regularizer_commutes(product, lambda theta: (theta[:3] ** 2).sum(), dim=6).holds
    False
    """
    worst = 0.0
    for theta in _points(dim, at):
        _size("h", h, theta, ndim=0)
        size = _size("g", g, theta)

        def both(point: Tensor) -> Tensor:
            import torch

            return torch.cat([g(point), h(point).reshape(1)])

        _, terms = _derivatives("g or h", both, theta)
        along_g, along_h = terms[:size, size], terms[size, :size]  # ∇²h∇g_i, ∇²g_i∇h
        worst = max(worst, _relative(along_g - along_h, np.stack([along_g, along_h])))
    return Certificate.of("regularizer_commutes", worst, ROUNDING * dim**0.5)


def _relative(vectors: Array, terms: Array) -> float:
    """Largest length of `vectors` over the largest of `terms`, along the last axis."""
    scale = float(np.linalg.norm(terms, axis=-1).max())
    return float(np.linalg.norm(vectors, axis=-1).max()) / scale if scale > 0 else 0.0


def _points(dim: int, at: ArrayLike | None) -> Array:
    require("mirrorflow.commuting", "torch")
    dim = whole("dim", dim, 1)
    if at is None:
        return random_stream("commuting", dim).standard_normal((POINTS, dim))
    given = np.asarray(at)
    points = real_array("at", given[None] if given.ndim == 1 else given, 2)
    if points.shape[1] != dim:
        raise InputError(f"at must hold points of dim = {dim} entries, but has {points.shape[1]}.")
    return points


def _call(name: str, function: Callable[[Tensor], Tensor], theta: Array) -> Tensor:
    import torch

    try:
        value = function(torch.tensor(theta))
    except Exception as error:  # a user's function may raise anything
        raise InputError(
            f"{name} must take a tensor of shape ({theta.size},), but it raises: {_first(error)}"
        ) from None
    if not isinstance(value, torch.Tensor) or value.dtype != torch.float64:
        kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise InputError(f"{name} must return a float64 tensor, but it returns {kind}.")
    return value


def _size(name: str, function: Callable[[Tensor], Tensor], theta: Array, ndim: int = 1) -> int:
    """The number of entries of what a function returns, which must have `ndim` axes."""
    value = _call(name, function, theta)
    if value.ndim != ndim or value.numel() == 0:
        what = "a tensor of shape (d,)" if ndim else "a scalar"
        raise InputError(f"{name} must return {what}, but its shape is {tuple(value.shape)}.")
    return value.numel()


def _derivatives(name: str, g: Callable[[Tensor], Tensor], theta: Array) -> tuple[Array, Array]:
    """∂g, shape (d, D), and T[i, j] = ∇²g_j ∇g_i, shape (d, d, D), at θ."""
    import torch
    from torch.func import jacrev, jvp, vmap

    _size(name, g, theta)
    point = torch.tensor(theta)
    slopes: Any = jacrev(g)
    try:
        jacobian = slopes(point)
        terms = vmap(lambda along: jvp(slopes, (point,), (along,))[1])(jacobian)
    except Exception as error:  # torch names the operation that it can't differentiate
        raise InputError(
            f"{name} must be twice differentiable by torch.func, but torch says: {_first(error)}"
        ) from None
    J, T = jacobian.detach().numpy(), terms.detach().numpy()
    if not (np.isfinite(J).all() and np.isfinite(T).all()):
        raise InputError(f"{name} must be twice differentiable, but a derivative is not finite.")
    _check_derivatives(name, g, slopes, theta, J)
    return J, T


def _check_derivatives(
    name: str, g: Callable[[Tensor], Tensor], slopes: Any, theta: Array, J: Array
) -> None:
    """Refuse kinks and detached values: torch gives those some derivative without a word.

    What one-sided differences of g and of ∂g along a random direction miss of torch's derivative
    must shrink with the step.
    """
    import torch
    from torch.func import jvp

    v = random_stream("commuting", "direction", theta.size).standard_normal(theta.size)
    v /= np.linalg.norm(v)
    bend = jvp(slopes, (torch.tensor(theta),), (torch.tensor(v),))[1].detach().numpy()
    step = STEP * (1.0 + float(np.abs(theta).max()))
    for function, derivative in ((g, J @ v), (slopes, bend)):
        here = function(torch.tensor(theta)).detach().numpy()

        def miss(length: float, function=function, derivative=derivative, here=here) -> float:
            there = function(torch.tensor(theta + length * v)).detach().numpy()
            return float(np.abs((there - here) / length - derivative).max())

        rounding = 1e-6 * float(np.abs(derivative).max() + np.abs(here).max())
        for side in (step, -step):
            near = miss(side / 8.0)
            if near > rounding and near > 0.5 * miss(side):
                raise InputError(
                    f"{name} must be twice differentiable where it is tried, but its differences "
                    f"miss torch's derivative by {near:.2g}; is there a kink or a detach()?"
                )


def _first(error: Exception) -> str:
    """The first line of a message, as one sentence."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return text if text.endswith(".") else f"{text}."
