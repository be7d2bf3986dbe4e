r"""Mean-square stability of SGD at an interpolator: the exact largest step size for a batch size.

With K = 2Z diag(p + q)Zᵀ, the Gram matrix of the samples' gradients in (m, w), H = K/n, batches of
B of n drawn afresh, c₂ = (n − B)/(B(n − 1)), c₁ = 1 − c₂ and k_i the columns of K^½, the second
moment M of the residuals obeys M ← M − ηC(M) + η²D(M) with

    C(M) = HM + MH,      D(M) = c₁HMH + c₂ (1/n) Σ_i (k_iᵀMk_i) k_ik_iᵀ.

E‖·‖² stays bounded iff ηD ⪯ C, so that η*(B) = 1/λ_max(C⁻¹D) (Mulayoff & Michaeli 2024 for the
operator); η*(n) = 2/λ_max(H).
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from mirrorflow.checks import Array, InputError, instance, real_array, whole
from mirrorflow.limits import Interpolator
from mirrorflow.problems import Regression

__all__ = ["gram_of_gradients", "stable_step_sgd", "trace_bound"]

LARGEST = 60  # samples: n(n + 1)/2 unknowns


def gram(K: ArrayLike) -> Array:
    """K, checked."""
    K = real_array("K", K, 2)
    if K.shape[0] != K.shape[1] or np.abs(K - K.T).max() > 1e-10 * np.abs(K).max():
        raise InputError(f"K must be square and symmetric, but its shape is {K.shape}.")
    if not float(np.linalg.eigvalsh(K)[0]) > 0.0:
        raise InputError("K must have full rank and no eigenvalue below 0, but it has not.")
    return K


def gram_of_gradients(problem: Regression, limit: Interpolator) -> Array:
    """K = 2Z diag(√(x² + a²)) Zᵀ at a limit, (n, n).

    Parameters
    ----------
    problem : Regression
        With the squared loss.
    limit : Interpolator
        Of Factors.

    Returns
    -------
    (n, n) array

    Raises
    ------
    InputError
        If the loss is another one.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> gram_of_gradients(problem, mf.interpolator(problem, start, total=0.0)).round(3)
    array([[8.956]])
    """
    instance("problem", problem, Regression)
    instance("limit", limit, Interpolator)
    if problem.loss.curvature(0.0, 0.0) != 1.0:
        raise InputError(f"problem must have the squared loss, but it has {problem.loss!r}.")
    half = problem.Z * np.sqrt(2.0 * (limit.p + limit.q))
    return np.asarray(half @ half.T)


def _moments(K: Array, batch_size: int) -> tuple[Array, Array, float, float]:
    """H, K^½, c₁, c₂."""
    n = K.shape[0]
    values, vectors = np.linalg.eigh(K)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    c2 = (n - batch_size) / (batch_size * max(n - 1, 1))
    return K / n, root, 1.0 - c2, c2


def stable_step_sgd(K: Array, batch_size: int) -> float:
    """η*(B), the largest step size at which SGD's second moment stays bounded.

    Parameters
    ----------
    K : (n, n) array
        `gram_of_gradients(problem, limit)`, of full rank; n ≤ 60, as there are n(n + 1)/2 unknowns.
    batch_size : int in [1, n]
        B; batches are drawn afresh in each step, without replacement.

    Returns
    -------
    float
        In flow time, as η is.

    Raises
    ------
    InputError
        If K is too large or not of full rank, or B out of its range.

    Examples
    --------
    >>> stable_step_sgd(np.eye(3), 3)  # 2/λ_max(H), H = K/3
    6.0
    """
    K = gram(K)
    n = whole("n", K.shape[0], 1, LARGEST)
    H, root, c1, c2 = _moments(K, whole("batch_size", batch_size, 1, n))
    rows, columns = np.tril_indices(n)
    count = rows.size
    # an orthonormal basis of symmetric matrices makes both operators symmetric
    scale = np.where(rows == columns, 1.0, np.sqrt(2.0))
    C, D = np.empty((count, count)), np.empty((count, count))
    for at, (i, j) in enumerate(zip(rows, columns, strict=True)):
        M = np.zeros((n, n))
        M[i, j] = M[j, i] = 1.0 if i == j else np.sqrt(0.5)
        weights = np.einsum("ai,ab,bi->i", root, M, root)
        moved = c1 * (H @ M @ H) + c2 / n * (root * weights) @ root.T
        C[:, at] = scale * (H @ M + M @ H)[rows, columns]
        D[:, at] = scale * moved[rows, columns]
    largest = scipy.linalg.eigh(D, C, eigvals_only=True, subset_by_index=[count - 1, count - 1])
    return float(1.0 / largest[0])


def trace_bound(K: Array, batch_size: int) -> float:
    """min{2/λ_max(H), 2 tr H/(c₁‖H‖_F² + c₂ mean K_ii²)} ≥ η*(B), from M = I.

    For B = 1 it is at most 2/tr H (Wu & Su 2023), so that stable SGD keeps
    Σ_j (‖z_j‖²/n)|x_j| ≤ 1/η, a weighted L1 ball; gradient descent keeps the largest term only.

    Parameters
    ----------
    K : (n, n) array
        `gram_of_gradients(problem, limit)`.
    batch_size : int in [1, n]
        B.

    Returns
    -------
    float
        In flow time, as η is.

    Raises
    ------
    InputError
        If B is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> trace_bound(np.eye(3), 3), trace_bound(np.eye(3), 1)
    (6.0, 2.0)
    """
    K = gram(K)
    n = K.shape[0]
    H, _, c1, c2 = _moments(K, whole("batch_size", batch_size, 1, n))
    second = c1 * float(np.sum(H * H)) + c2 * float(np.mean(np.diag(K) ** 2))
    return min(2.0 / float(np.linalg.eigvalsh(H)[-1]), 2.0 * float(np.trace(H)) / second)
