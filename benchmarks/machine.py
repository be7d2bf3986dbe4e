"""Measured rates of the machine, and the least time that counted work can take at them."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from mirrorflow.runs.store import Row

__all__ = ["bound", "rates"]

RUNS = 128  # runs that share a matrix product


def rates(n: int, d: int, repetitions: int = 5) -> Row:
    """Best rates over `repetitions`, for work of the shapes that flows and limits do.

    Returns
    -------
    dict
        gemm_rate: flop/s of (128, n)·(n, d), a batch of Zᵀν; peak_rate: of (1024, 1024)²;
        exp_rate: exponentials/s on (128, d); cholesky_rate: flop/s of 128 factorizations of
        n×n, n³/3 each; copy_rate: bytes/s read and written by copying 64 MB.
    """
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((RUNS, n)), rng.standard_normal((n, d))
    square, exponents = rng.standard_normal((1024, 1024)), rng.standard_normal((RUNS, d))
    product, powers = np.empty((RUNS, d)), np.empty((RUNS, d))
    hessian = right @ right.T + n * np.eye(n)
    hessians = np.broadcast_to(hessian, (RUNS, n, n)).copy()
    block = np.zeros(8_000_000)

    def best(work: float, compute: Callable[[], object]) -> float:
        calls = 1
        while True:  # enough calls for the clock
            start = time.perf_counter()
            for _ in range(calls):
                compute()
            if time.perf_counter() - start > 0.02:
                break
            calls *= 4
        times = []
        for _ in range(repetitions):
            start = time.perf_counter()
            for _ in range(calls):
                compute()
            times.append((time.perf_counter() - start) / calls)
        return work / min(times)

    return {
        "gemm_rate": best(2.0 * RUNS * n * d, lambda: np.matmul(left, right, out=product)),
        "peak_rate": best(2.0 * 1024**3, lambda: square @ square),
        "exp_rate": best(RUNS * d, lambda: np.exp(exponents, out=powers)),
        "cholesky_rate": best(RUNS * n**3 / 3, lambda: np.linalg.cholesky(hessians)),
        "copy_rate": best(2.0 * block.nbytes, lambda: block.copy()),
    }


def bound(n: int, d: int, right_hand_sides: float, factorizations: float, machine: Row) -> float:
    """Least seconds for that work at the measured rates.

    A right-hand side costs 4nd flop (Zᵀν and Zx) and d exponentials (p; q is p̄q̄/p). A
    factorization costs n(n+1)d flop for the symmetric Z diag(p + q) Zᵀ and n³/3 for Cholesky.
    """
    product = max(machine["gemm_rate"], machine["peak_rate"])
    side = 4 * n * d / product + d / machine["exp_rate"]
    factor = n * (n + 1) * d / product + n**3 / 3 / machine["cholesky_rate"]
    return right_hand_sides * side + factorizations * factor
