"""Cost of BLAS threads beside a busy core: python -m benchmarks.threads.

Times `gradient_flows` with the default number of threads and with OPENBLAS_NUM_THREADS=1 while
another process keeps a core busy. The ratio ought to be below 1.5.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

REPEATS = 3
SIZES = ((40, 100, 64), (60, 1000, 8))  # n, d, runs
TIMED = """
import timeit, numpy as np, mirrorflow as mf
problem, rng = mf.gaussian_recovery({0}, {1}, 5, seed=0), np.random.default_rng(0)
starts = [mf.Factors.pilot(rng.normal(0.0, {1}**-0.25, {1})) for _ in range({2})]
schedule = mf.Quadratic.from_total(1.0, timescale=10.0)
call = lambda: mf.gradient_flows(problem, starts, schedule, [0.0, 100.0])
print(min(timeit.repeat(call, number=1, repeat=3)))
"""
NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def seconds(size: tuple[int, int, int], threads: dict[str, str]) -> float:
    """The least time of three calls, in a process of its own."""
    environment = {name: text for name, text in os.environ.items() if name not in NAMES}
    command = [sys.executable, "-c", TIMED.format(*size)]
    return float(subprocess.check_output(command, env=environment | threads))


def main() -> None:
    """Print both medians and their ratio for each size."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        for size in SIZES:
            one = dict.fromkeys(NAMES, "1")
            pairs = [(seconds(size, {}), seconds(size, one)) for _ in range(REPEATS)]
            default, single = (statistics.median(column) for column in zip(*pairs, strict=True))
            print("{2} flows of {0}×{1}:".format(*size), end=" ")
            print(f"{default:.3f} s, one thread {single:.3f} s, ratio {default / single:.2f}")
    finally:
        busy.kill()


if __name__ == "__main__":
    main()
