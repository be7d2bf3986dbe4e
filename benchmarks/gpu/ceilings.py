"""The device, and the two rates that bound what runs on it: copying memory, multiplying matrices.

Nothing that moves b bytes and does f operations takes less than max(b/copy, f/product) seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from mirrorflow.results import Row

__all__ = ["best_seconds", "measure"]

WARM_UP, CALLS = 3, 10
# bytes copied and side of the square matrices: far more than the caches hold, short all the same
SIZES = {"cuda": (2**32, 8192), "cpu": (2**26, 1024)}


def measure(device: torch.device, repeats: int) -> Row:
    """Return what the device is and its best rates over `repeats`, on random data.

    Returns
    -------
    dict
        `device`, `multiprocessors`, `memory_bytes` (None on a CPU), `copy_rate` (bytes/s read plus
        written, device to device), `product_rate` (flop/s of a square bfloat16 product).
    """
    count, side = SIZES[device.type]
    copying, multiplying = _copy(device, count, repeats), _product(device, side, repeats)
    facts: Row = {"device": "CPU", "multiprocessors": None, "memory_bytes": None}
    if device.type == "cuda":
        known = torch.cuda.get_device_properties(device)
        facts = {
            "device": known.name,
            "multiprocessors": known.multi_processor_count,
            "memory_bytes": known.total_memory,
        }
    return {
        **facts,
        "copy_rate": 2.0 * count / copying,
        "product_rate": 2.0 * side**3 / multiplying,
    }


def _copy(device: torch.device, count: int, repeats: int) -> float:
    source = torch.randint(256, (count,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return best_seconds(device, lambda: target.copy_(source), repeats)


def _product(device: torch.device, side: int, repeats: int) -> float:
    # never zeros: some chips multiply them faster
    left, right = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    product = torch.empty_like(left)
    return best_seconds(device, lambda: torch.mm(left, right, out=product), repeats)


def best_seconds(device: torch.device, call: Callable[[], object], repeats: int) -> float:
    """Return the least seconds per call over `repeats` of several calls in a row."""
    for _ in range(WARM_UP):
        call()
    times = []
    for _ in range(repeats):
        _wait(device)
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        _wait(device)
        times.append((time.perf_counter() - start) / CALLS)
    return min(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
