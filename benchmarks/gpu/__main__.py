"""Command line of a session on a GPU: python -m benchmarks.gpu [report] [flags]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mirrorflow.checks import InputError, number, whole
from mirrorflow.extras import TABLES, require
from mirrorflow.runs.cli import command
from mirrorflow.runs.stopping import stoppable
from mirrorflow.runs.store import code_digest

FAREWELL = "\nInterrupted; finished stages and runs are kept. The same command goes on."


@command
def main(arguments: list[str] | None = None) -> int:
    """Measure and run the grid, or report.

    Returns the exit code: 0 done or out of time, 1 a stage failed, 2 bad input, 130 or 143 stopped.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    require("python -m benchmarks.gpu", "torch", *TABLES)
    if words[:1] == ["report"]:
        return report(words[1:])
    with stoppable(FAREWELL):
        return run(words)


def run(words: list[str]) -> int:
    """Do what is not done yet, in order of value, until the minutes are over."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Measure the device and run the comparison grid on it; docs/gpu.md says more. "
        "`python -m benchmarks.gpu report` makes the tables.",
    )
    flag = parser.add_argument
    flag("--device", default="cuda", help="cpu, cuda or cuda:N (cuda)")
    flag("--minutes", type=float, default=9.0, help="length of the session (9)")
    flag("--out", type=Path, default=Path("results/gpu"), help="folder (results/gpu)")
    flag("--archive", type=Path, help="zip file: unpacked where --out is empty, kept up to date")
    flag("--dataset", choices=("cifar10", "digits"), default="cifar10", help="(cifar10)")
    flag("--data-root", type=Path, help="folder of cifar10.npz or its pieces; else no grid")
    flag("--stages", nargs="+", metavar="STAGE", help="these alone (all, in order of value)")
    flag("--methods", nargs="+", default=["all"], help="of the grid (all)")
    flag("--seeds", type=int, default=3, help="of the grid (3)")
    flag("--epochs", type=int, default=150, help="of the grid (150; a fifth to tune and per cycle)")
    flag("--budget", type=int, default=6, help="settings tried of each method (6)")
    given = parser.parse_args(words)
    number("--minutes", given.minutes, 0.0, open_low=True)
    for name in ("seeds", "epochs", "budget"):
        whole(f"--{name}", getattr(given, name), 1)

    import torch

    from benchmarks.gpu import measurements, session
    from gpu_bench import methods
    from gpu_bench.data.batches import check_device

    if given.methods == ["all"]:
        given.methods = list(methods.METHODS)
    for name in given.methods:
        methods.find(name)  # refuses unknown names
    device = check_device(given.device)
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = device.type == "cuda"
    measured, parts = measurements.stages(device, given.dataset), session.parts(given)
    known = [*measured, *parts]
    chosen = known if given.stages is None else given.stages
    for name in chosen:
        if name not in known:
            raise InputError(f"--stages must be among {', '.join(known)}, but {name!r} is not.")
        if name in parts:
            session.setting(parts[name]).runs()  # refuses flags that break a rule
    now = session.Session(given.out, given.minutes, device, given.archive)
    asked = {"dataset": given.dataset, "code": code_digest("benchmarks.gpu.measurements")}
    for name in [name for name in known if name in chosen]:
        if name in measured:
            now.stage(name, asked, measured[name])
        else:
            session.compute(name, parts[name], now, given.data_root)
    if now.failed:
        print(f"error: failed, to be tried again: {', '.join(now.failed)}", file=sys.stderr)
    return int(bool(now.failed))


def report(words: list[str]) -> int:
    """Make the tables from what is there."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu report",
        description="Make OUT/report.md and figures from what the sessions left; runs nothing.",
    )
    flag = parser.add_argument
    flag("--out", type=Path, default=Path("results/gpu"), help="(results/gpu)")
    flag("--publish", action="store_true", help="also into docs/gpu.md; results of one GPU alone")
    given = parser.parse_args(words)

    from benchmarks.gpu import tables

    if given.publish:
        tables.check_publishable(given.out)
    text, figures = tables.write(given.out)
    if given.publish:
        tables.publish(given.out, text, figures, Path(__file__).parents[2])
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
