"""Memory of a process: kept between the steps on a CPU, and errors that say that it is full."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["is_full", "keep_memory"]

# what cuBLAS, cuDNN and the driver say near the limit, where torch raises no error of its own
FULL = (
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "unable to find an engine",
)


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised on top of, says that the memory is full.

    >>> is_full(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))
    True
    """
    while error is not None:
        words = str(error)
        if type(error).__name__ == "OutOfMemoryError" or any(part in words for part in FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def keep_memory() -> None:
    """Let glibc keep what a step frees for the next one, in this process.

    Otherwise every activation above some 100 kB is memory from the system again, page by page:
    a tenth to a fifth of a step on one core.
    """
    allocator = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if allocator is not None:
        trim, mapped, never = -1, -4, 2**31 - 1  # M_TRIM_THRESHOLD, M_MMAP_MAX
        allocator(trim, never)
        allocator(mapped, 0)
