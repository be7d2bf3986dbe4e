"""What BLAS threads cost beside a busy core: python -m benchmarks.threads.

Times `gradient_flows` in processes with the default number of threads and with
OPENBLAS_NUM_THREADS=1, while one more process keeps a core busy. The ratio ought to be below 1.5.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

REPEATS = 5
SIZES = ((40, 100, 64), (60, 1000, 16))  # n, d, runs


def seconds(n: int, d: int, runs: int) -> float:
    """The least of three calls, after one that warms up."""
    import numpy as np

    import mirrorflow as mf

    problem = mf.gaussian_recovery(n, d, 5, seed=0)
    rng = np.random.default_rng(0)
    starts = [mf.Factors.pilot(rng.normal(0.0, d**-0.25, d)) for _ in range(runs)]
    taken = []
    for _ in range(4):
        begin = time.perf_counter()
        mf.gradient_flows(problem, starts, mf.Quadratic.from_total(1.0, 10.0), [0.0, 100.0])
        taken.append(time.perf_counter() - begin)
    return min(taken[1:])


def _measured(size: tuple[int, int, int], threads: str | None) -> float:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {} if threads is None else dict.fromkeys(names, threads)
    code = f"from benchmarks.threads import seconds; print(seconds(*{size}))"
    command = [sys.executable, "-c", code]
    return float(subprocess.check_output(command, env=environment, text=True))


def main() -> None:
    """Print a line for each size: both medians and their ratio."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            for size in SIZES:
                pairs = [(_measured(size, None), _measured(size, "1")) for _ in range(REPEATS)]
                default, one = (statistics.median(column) for column in zip(*pairs, strict=True))
                print(
                    "{2} flows of {0}×{1}:".format(*size),
                    f"{default:.3f} s, one thread {one:.3f} s, ratio {default / one:.2f}",
                    flush=True,
                )
        finally:
            busy.kill()


if __name__ == "__main__":
    main()
