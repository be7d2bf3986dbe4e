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

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mirrorflow.certificate import Certificate
from mirrorflow.checks import Array, InputError, real_array, whole
from mirrorflow.derivatives import ByTorch, Function, check_smooth, first_line
from mirrorflow.extras import require
from mirrorflow.problems import random_stream

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["brackets_in_kernel", "commutes", "regularizer_commutes", "regularizer_scale"]

Torch = Callable[["Tensor"], "Tensor"]
POINTS = 5
# Rounding of a bracket relative to its two terms: each is a product of derivatives of g, exact to
# some eps times the number of operations behind it. Brackets that are not 0 are of order 1.
ROUNDING = 1e3 * float(np.finfo(float).eps)


def commutes(g: Torch, dim: int, at: ArrayLike | None = None) -> Certificate:
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
    terms = [_derivatives(g, theta)[1] for theta in _points(dim, at)]
    worst = max(_relative(T - T.transpose(1, 0, 2), T) for T in terms)
    return Certificate.of("commutes", worst, ROUNDING * dim**0.5)


def brackets_in_kernel(g: Torch, dim: int, at: ArrayLike | None = None) -> Certificate:
    """Whether ∂g(θ)[∇g_i, ∇g_j] = 0 for all i, j: necessary for a mirror flow.

    Parameters
    ----------
    g, dim, at
        As in `commutes`.

    Returns
    -------
    Certificate
        Value: largest |∂g [∇g_i, ∇g_j]| over pairs and points, relative to
        max |∇g_k|·max |∇²g_j ∇g_i| there. Bound: 1000 eps √D.

    Raises
    ------
    InputError
        If g has the wrong shape or can't be differentiated.

    Examples
    --------
    >>> brackets_in_kernel(lambda theta: theta[0] * theta[1:], dim=4).holds
    False
    """
    worst = 0.0
    for theta in _points(dim, at):
        jacobian, terms = _derivatives(g, theta)
        moved = (terms - terms.transpose(1, 0, 2)) @ jacobian.T
        length = float(np.linalg.norm(jacobian, axis=1).max())
        worst = max(worst, _relative(moved, length * terms))
    return Certificate.of("brackets_in_kernel", worst, ROUNDING * dim**0.5)


def regularizer_commutes(g: Torch, h: Torch, dim: int, at: ArrayLike | None = None) -> Certificate:
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
    terms = [terms_of_penalty(*_functions(g, h, theta), theta) for theta in _points(dim, at)]
    worst = max(_relative(by_g - by_h, np.stack([by_g, by_h])) for _, by_g, by_h in terms)
    return Certificate.of("regularizer_commutes", worst, ROUNDING * dim**0.5)


def regularizer_scale(
    g: Torch, h: Torch, dim: int, at: ArrayLike | None = None
) -> tuple[Certificate, float]:
    r"""Whether [∇g_i, ∇h] = −κ∇g_i for every i with one number κ, and that κ.

    Then −∫e^{−κA}∇f takes the place of −∫∇f in the mirror equation under the penalty α_t h(θ),
    A = ∫α: exact without commuting, which is κ = 0. For g homogeneous of degree L and h = ‖θ‖²
    κ = 2(L − 2).

    Parameters
    ----------
    g, h, dim, at
        As in `regularizer_commutes`.

    Returns
    -------
    Certificate
        Value: largest |[∇g_i, ∇h] + κ∇g_i| over i and points, relative to the larger of the
        bracket's two terms there. Bound: 1000 eps √D.
    kappa : float
        κ of least squares; says nothing where the certificate doesn't hold.

    Raises
    ------
    InputError
        If g or h has the wrong shape or can't be differentiated.

    Examples
    --------
    >>> cubes = lambda theta: theta[:3] ** 3 - theta[3:] ** 3
    >>> certificate, kappa = regularizer_scale(cubes, lambda theta: (theta**2).sum(), dim=6)
    >>> certificate.holds, round(kappa, 12)
    (True, 2.0)
    """
    terms = [terms_of_penalty(*_functions(g, h, theta), theta) for theta in _points(dim, at)]
    return scale_of_penalty(terms, ROUNDING * dim**0.5)


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


def _check_vector(g: Torch, theta: Array) -> int:
    shape = ByTorch("g", g, ()).value(theta).shape
    if len(shape) != 1 or shape == (0,):
        raise InputError(f"g must return a tensor of shape (d,), but its shape is {shape}.")
    return shape[0]


def _functions(g: Torch, h: Torch, theta: Array) -> tuple[list[Function], Function]:
    """g's coordinates one by one, and h; refused where they aren't differentiable at θ."""
    size, penalty = _check_vector(g, theta), ByTorch("h", h, ()).checked(theta)
    ByTorch("g", lambda point: g(point).sum(), ()).checked(theta)

    def coordinate(i: int) -> Function:
        return ByTorch("g", lambda point: g(point)[i], ())

    return [coordinate(i) for i in range(size)], penalty


def terms_of_penalty(gs: Sequence[Function], h: Function, theta: Array) -> tuple[Array, ...]:
    """∇g_i, and the terms ∇²h∇g_i and ∇²g_i∇h of the brackets with h; (d, D) each."""
    gradients, down = [g.gradient(theta) for g in gs], h.gradient(theta)
    along_g = [h.along(theta, gradient) for gradient in gradients]
    along_h = [g.along(theta, down) for g in gs]
    return tuple(np.reshape(rows, (len(gs), -1)) for rows in (gradients, along_g, along_h))


def scale_of_penalty(terms: Sequence[tuple[Array, ...]], bound: float) -> tuple[Certificate, float]:
    """The certificate and κ of `regularizer_scale` from the terms at several points."""
    gradients, along_g, along_h = map(np.concatenate, zip(*terms, strict=True))
    # each row counts alike, whatever its size
    sizes = np.linalg.norm(np.stack([along_g, along_h]), axis=2).max(0)[:, None]
    sizes = np.where(sizes > 0, sizes, 1.0)
    brackets, units = (along_g - along_h) / sizes, gradients / sizes
    kappa = -float(np.vdot(brackets, units) / max(np.vdot(units, units), 1e-300))
    misfit = float(np.linalg.norm(brackets + kappa * units, axis=1).max())
    if abs(kappa) * float(np.linalg.norm(units, axis=1).max()) <= bound:
        kappa = 0.0  # rounding
    return Certificate.of("regularizer_scale", misfit, bound), kappa


def _derivatives(g: Torch, theta: Array) -> tuple[Array, Array]:
    """∂g, shape (d, D), and T[i, j] = ∇²g_j ∇g_i, shape (d, d, D), at θ."""
    import torch
    from torch.func import jacrev, jvp, vmap

    _check_vector(g, theta)
    point, jacobian_at = torch.tensor(theta), jacrev(g)
    v = random_stream("commuting", "direction", theta.size).standard_normal(theta.size)
    v *= (1.0 + np.abs(theta).max()) / np.linalg.norm(v)
    try:
        jacobian = jacobian_at(point)
        terms = vmap(lambda along: jvp(jacobian_at, (point,), (along,))[1])(jacobian)
        hessian_v = jvp(jacobian_at, (point,), (torch.tensor(v),))[1].detach().numpy()
    except Exception as error:  # torch names the operation that it can't differentiate
        raise InputError(
            f"g must be twice differentiable by torch.func, but torch says: {first_line(error)}"
        ) from None
    J, T = jacobian.detach().numpy(), terms.detach().numpy()
    if not (np.isfinite(J).all() and np.isfinite(T).all()):
        raise InputError("g must be twice differentiable, but a derivative is not finite.")

    def by_numpy(function: Torch) -> Callable[[Array], Array]:
        return lambda at: function(torch.tensor(at)).detach().numpy()

    check_smooth("g", [(by_numpy(g), J @ v), (by_numpy(jacobian_at), hessian_v)], theta, v)
    return J, T
