"""Command line of a sitting on a GPU: python -m benchmarks.gpu [report] [flags]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mirrorflow.checks import InputError, whole
from mirrorflow.execution import command, stoppable
from mirrorflow.extras import TABLES, require

COUNTS = (1, 2, 4, 8)  # runs at once
FAREWELL = "\nInterrupted; finished stages and runs are kept."


@command
def main(arguments: list[str] | None = None) -> int:
    """Measure and run the grid, or report.

    Returns the exit code: 0 done, 1 stages failed, 2 bad input, 130 or 143 stopped.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["report"]:
        return report(words[1:])
    with stoppable(FAREWELL):
        return measure(words)


def measure(words: list[str]) -> int:
    """Do what is not done yet, in order of value, until the minutes are over.

    Returns 1 if a stage failed, in whole or in some of its runs, else 0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Measure the device and run the comparison grid on it; docs/gpu.md says more. "
        "`python -m benchmarks.gpu report` makes the tables and figures.",
    )
    flag = parser.add_argument
    flag("--device", default="cuda", help="cpu, cuda or cuda:N (cuda)")
    flag("--minutes", type=float, default=25.0, help="length of the sitting (25)")
    flag("--out", type=Path, default=Path("results/gpu"), help="folder (results/gpu)")
    flag("--dataset", choices=("cifar10", "digits"), default="cifar10", help="cifar10 or digits")
    flag("--data-root", type=Path, help="folder with cifar10.npz; without it no grid is run")
    flag("--stages", nargs="+", metavar="STAGE", help="these alone (all, in order of value)")
    flag("--methods", nargs="+", default=["all"], help="of the grid (all)")
    flag("--seeds", type=int, default=3, help="of the grid's main part (3)")
    flag("--epochs", type=int, default=150, help="of the grid's runs (150)")
    flag("--tune-epochs", type=int, default=30, help="of each setting that is tried (30)")
    flag("--budget", type=int, default=6, help="settings tried of each method (6)")
    flag("--runs", type=int, nargs="+", default=COUNTS, help="at once, to be timed (1 2 4 8)")
    flag("--steps", type=int, help="timed steps of a repetition (100; fewer on a CPU)")
    flag("--repeats", type=int, default=3, help="repetitions of each timing (3)")
    flag("--workers", type=int, default=8, help="DataLoader workers of the plain loop (8)")
    given = parser.parse_args(words)
    require("python -m benchmarks.gpu", "torch", "PIL", *TABLES)
    for name in ("seeds", "epochs", "tune_epochs", "budget", "repeats"):
        whole(f"--{name.replace('_', '-')}", getattr(given, name), 1)
    if given.steps is not None:
        whole("--steps", given.steps, 1)
    whole("--workers", given.workers, 0)
    for count in given.runs:
        whole("--runs", count, 1, 1024)

    import torch

    from benchmarks.gpu import stages
    from benchmarks.gpu.plan import Plan
    from benchmarks.gpu.sitting import Sitting
    from gpu_bench import methods
    from gpu_bench.data.batches import check_device

    if given.methods != ["all"]:
        for name in given.methods:
            methods.options(name)  # refuses unknown names
    device = check_device(given.device)
    plan = Plan(
        device=str(device),
        dataset=given.dataset,
        data_root=given.data_root,
        out=given.out,
        epochs=given.epochs,
        tune_epochs=given.tune_epochs,
        budget=given.budget,
        seeds=given.seeds,
        methods=tuple(given.methods),
    )
    known = stages.names(plan)
    chosen = known if given.stages is None else given.stages
    for name in chosen:
        if name not in known:
            raise InputError(
                f"--stages must be among {', '.join(known)} with --methods "
                f"{' '.join(plan.methods)}, but {name!r} is not."
            )
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = device.type == "cuda"
    sitting = Sitting(given.out, given.minutes)
    times = stages.Timing(tuple(given.runs), given.steps, given.repeats, given.workers)
    stages.measurements(sitting, plan, times, chosen)
    if given.dataset == "cifar10" and given.data_root is None:
        print("no --data-root: the grid waits for the images", file=sys.stderr)
    else:
        stages.grid(sitting, plan, chosen)
    if sitting.failed:
        print(f"error: failed, to be tried again: {', '.join(sitting.failed)}", file=sys.stderr)
        return 1
    return 0


def report(words: list[str]) -> int:
    """Make the tables and figures from what is there."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu report",
        description="Make OUT/report.md and figures from what the sittings left; runs nothing.",
    )
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="(results/gpu)")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="also fill docs/gpu.md and figures/gpu/; of a sitting on CUDA and one data set alone",
    )
    given = parser.parse_args(words)
    require("the report", "pandas", "pyarrow", "rich", "matplotlib")

    from benchmarks.gpu import page

    if given.publish:
        page.check_publishable(given.out)
    sections = page.sections(given.out)
    drawn = page.figures(given.out)
    page.write(given.out, sections)
    if given.publish:
        page.publish(given.out, sections, drawn, Path(__file__).parents[2])
    print(page.text(sections))
    return 0


if __name__ == "__main__":
    sys.exit(main())
