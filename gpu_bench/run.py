"""Command line of the vision benchmark: python -m gpu_bench.run [PROTOCOL] [flags]."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrorflow.extras import TABLES, require
from mirrorflow.runs.cli import chosen, command, configured, failed, narrowed, plain, typed

if TYPE_CHECKING:
    from gpu_bench.experiment import Place
    from gpu_bench.grid import Readings
    from gpu_bench.settings import Setting
    from mirrorflow.runs.store import Run

PROGRAM = "python -m gpu_bench.run"
PROTOCOLS = {
    "one-shot": "train, cut the smallest weights, read the accuracy (the default)",
    "iterative": "train, cut a fifth of the weights, train again, … (IMP, WR, LRR)",
    "cyclic": "train a mask found at initialisation several times",
    "sculpt": "cyclic training, one cut to the target, one more training",
    "tune": "choose each method's learning rate and strength on held-out training images",
}
REPORT = "report", "compare the result folders of several protocols"
WIDTH = 120  # characters of the table that the manifest keeps


@command
def main(arguments: list[str] | None = None) -> int:
    """Run a grid, or compare; returns the exit code of `mirrorflow.runs.cli`."""
    name, words = chosen(arguments, "PROTOCOL", [*PROTOCOLS, REPORT[0]], "one-shot")
    require(PROGRAM, "torch", *TABLES)
    if name == REPORT[0]:
        from gpu_bench.report.command import main as report

        return report(words)
    return run(configure(name, words))


def configure(name: str, words: list[str]) -> Setting:
    """Read the flags; `--help` and unknown flags exit here."""
    from gpu_bench.settings import SETTINGS
    from gpu_bench.settings.flags import check_effect

    listed = {**PROTOCOLS, **dict([REPORT])}
    setting = configured(SETTINGS[name], words, f"{PROGRAM} {name}", listed)
    check_effect(setting, words)  # of --controller the value alone does not say if it is given
    return setting


def run(setting: Setting) -> int:
    """Compute what is missing, write the results, print the table, draw the figures."""
    if setting.deterministic:  # cuBLAS reads it once, before its first call
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if setting.tensorboard:
        require("--tensorboard", "tensorboard")
    runs = list({run.key: run for run in setting.runs()}.values())  # a value given twice is one

    from gpu_bench import data
    from gpu_bench.experiment import load_data
    from gpu_bench.grid import Job, Readings, execute
    from gpu_bench.ranks import Ranks
    from gpu_bench.report.units import UNITS
    from mirrorflow.runs.stopping import stoppable
    from mirrorflow.runs.store import command_line, split

    ranks = Ranks.join(runs[0].spec["device"])
    where = place(setting)
    if setting.download and ranks.first:
        data.load(setting.dataset, where.data_root, download=True)
    ranks.barrier()
    images = load_data(runs[0].spec, where)  # missing data: said at once
    size = runs[0].spec["batch_size"]
    data.batches_of(images, size, 0, ranks=ranks.size)  # refuses one larger than the data
    protocol = setting.module()
    folder = Readings(setting.folder, protocol.COLUMNS)
    folder.units = UNITS
    line = command_line("gpu_bench.run")
    job = Job(protocol.compute, where, ranks)
    farewell = (
        f"\nInterrupted; finished runs and the epochs of the others are kept. To go on: "
        f"{line.replace(' --force', '')}"
    )

    def repeat(run: Run) -> str:
        spec = {**run.spec, "alpha": run.spec["alpha_initial"]}
        narrow = dataclasses.replace(narrowed(setting, spec), out=setting.folder / "repeat")
        return typed(f"{PROGRAM} {setting.protocol}", narrow)

    lock = folder.lock() if ranks.first else contextlib.nullcontext()
    with stoppable(farewell), lock:
        failures = execute(job, runs, folder, setting.processes(), setting.force, setting.scheduler)
        if ranks.first:
            frame, _ = split(folder.consolidate(runs, line, plain(setting)))
            if len(frame):
                _show(setting, folder, frame)
    ranks.leave()
    return failed(failures, len(runs), repeat) if ranks.first else int(bool(failures))


def place(setting: Setting) -> Place:
    """Return where the runs of a setting find and leave things."""
    from gpu_bench.experiment import Place

    mask_file: Path | None = getattr(setting, "mask_file", None)
    return Place(
        setting.folder if setting.scheduler is None else setting.folder.resolve(),
        None if setting.data_root is None else str(setting.data_root),
        setting.broken_images or "refuse",
        setting.decoders(),
        None if mask_file is None else str(mask_file),
        setting.folder / "tensorboard" if setting.tensorboard else None,
    )


def _show(setting: Setting, folder: Readings, frame: Any) -> None:
    from rich.console import Console

    from gpu_bench import report
    from mirrorflow.runs.store import load_paths

    console = report.screen()
    out = setting.folder
    report.print_table(console, frame)
    drawn = report.figures(out, frame, load_paths(out / "paths.npz"))
    printed = io.StringIO()
    report.print_table(Console(width=WIDTH, file=printed), frame)
    first = frame.iloc[0]
    said = {
        "study": setting.protocol,
        "title": f"{setting.protocol}: {first['dataset']}, {first['model']}",
        "printed": printed.getvalue(),
    }
    folder.conclude(said, drawn)
    names = ["rows.parquet", "paths.npz", "manifest.json", "weights/"]
    names += [file.name for file in [*setting.conclude(frame), *drawn]]
    places = f"{frame['key'].nunique()} runs in {out}/: {', '.join(names)}"
    console.print(f"\n{places}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    code = main()
    if "RANK" in os.environ:  # gloo's threads may abort a process that ends in the usual way
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
