"""Command line of the vision benchmark: python -m gpu_bench.run [PROTOCOL] [flags]."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrorflow.checks import InputError, refused_file
from mirrorflow.extras import TABLES, require

if TYPE_CHECKING:
    from gpu_bench.experiment import Place
    from gpu_bench.grid import Failure, Readings
    from gpu_bench.ranks import Ranks
    from gpu_bench.settings import Setting

PROTOCOLS = {
    "one-shot": "train, cut the smallest weights, read the accuracy (the default)",
    "iterative": "train, cut a fifth of the weights, train again, … (IMP, WR, LRR)",
    "cyclic": "train a mask found at initialisation several times",
    "sculpt": "cyclic training, one cut to the target, one more training",
    "tune": "choose each method's learning rate and strength on held-out training images",
}
WIDTH = 120  # characters of the table that the manifest keeps


def main(arguments: list[str] | None = None) -> int:
    """Run a grid; returns the exit code: 0 done, 1 runs failed, 2 bad input, 130 or 143 stopped."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words.pop(0) if words and not words[0].startswith("-") else "one-shot"
    try:
        require("python -m gpu_bench.run", "torch", *TABLES)
        if name == "report":
            from gpu_bench.report import command

            return command.main(words)
        if name not in PROTOCOLS:
            listed = ", ".join([*PROTOCOLS, "report"])
            raise InputError(f"PROTOCOL must be one of {listed}, but it is {name!r}.")
        return run(configure(name, words))
    except InputError as error:
        if os.environ.get("RANK", "0") == "0":  # once, not once for each rank
            print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:  # not a file's fault
            raise
        print(f"error: {refused_file(error)}", file=sys.stderr)
        return 2


def configure(name: str, words: list[str]) -> Setting:
    """Read the flags; `--help` and unknown flags exit here."""
    import tyro

    from gpu_bench.settings import SETTINGS

    setting = SETTINGS[name]
    explained = {**PROTOCOLS, "report": "compare the result folders of several protocols"}
    listed = "\n".join(f"  {protocol}: {text}" for protocol, text in explained.items())
    return tyro.cli(
        setting,
        args=words,
        prog=f"python -m gpu_bench.run {name}",
        description=f"{setting.__doc__}\n\nProtocols:\n{listed}",
    )


def run(setting: Setting) -> int:
    """Compute what is missing, write the results, print the table, draw the figures."""
    if setting.deterministic:  # cuBLAS reads it once, before its first call
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if setting.tensorboard:
        require("--tensorboard", "tensorboard")
    runs = list({run.key: run for run in setting.runs()}.values())  # a value given twice is one

    from gpu_bench.experiment import load_data
    from gpu_bench.grid import Job, Readings, execute
    from gpu_bench.ranks import Ranks
    from gpu_bench.report.units import UNITS
    from mirrorflow.execution import Stopped, stoppable
    from mirrorflow.results import command_line, split

    ranks = Ranks.join(runs[0].spec["device"])
    where = place(setting)
    if setting.download and ranks.first:
        from gpu_bench import data

        data.load(setting.dataset, where.data_root, download=True)
    ranks.barrier()
    images = load_data(runs[0].spec, where)  # missing data: said at once
    size = runs[0].spec["batch_size"]
    images.batches(size, 0, ranks=ranks.size)  # refuses a batch that is larger than the data
    protocol = setting.module()
    folder = Readings(setting.folder, protocol.COLUMNS)
    folder.units = UNITS
    command = command_line("gpu_bench.run")
    job = Job(protocol.compute, where, ranks)
    farewell = (
        f"\nInterrupted; finished runs and the epochs of the others are kept. To go on: "
        f"{command.replace(' --force', '')}"
    )
    lock = folder.lock() if ranks.first else contextlib.nullcontext()
    try:
        with stoppable(farewell), lock:
            failures = execute(
                job, runs, folder, setting.processes(), setting.force, setting.scheduler
            )
            if ranks.first:
                frame, _ = split(folder.consolidate(runs, command, _plain(setting)))
                if len(frame):
                    _show(setting, folder, frame)
    except KeyboardInterrupt as stop:
        print(farewell, file=sys.stderr)
        return stop.code if isinstance(stop, Stopped) else 130
    ranks.leave()
    return _ended(failures, len(runs), ranks)


def place(setting: Setting) -> Place:
    """Return where the runs of a setting find and leave things."""
    from gpu_bench.experiment import Place

    mask_file: Path | None = getattr(setting, "mask_file", None)
    return Place(
        setting.folder if setting.scheduler is None else setting.folder.resolve(),
        None if setting.data_root is None else str(setting.data_root),
        setting.broken_images,
        setting.decoders(),
        None if mask_file is None else str(mask_file),
        setting.folder / "tensorboard" if setting.tensorboard else None,
    )


def _show(setting: Setting, folder: Readings, frame: Any) -> None:
    from rich.console import Console

    from gpu_bench import report
    from mirrorflow.results import load_paths

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


def _ended(failures: Sequence[Failure], total: int, ranks: Ranks) -> int:
    """Say what went wrong; returns the exit code."""
    if failures and ranks.first:
        for failure in failures[:3]:
            if not failure.refused:
                words = f"error: a run failed: {failure.run.spec}\n{failure.message}"
                print(words, file=sys.stderr)
    refused = [failure.message for failure in failures if failure.refused]
    if refused:
        raise InputError(refused[0])
    if failures:
        if ranks.first:
            print(f"error: {len(failures)} of {total} runs failed.", file=sys.stderr)
        return 1
    return 0


def _plain(setting: Setting) -> dict[str, Any]:
    values = dataclasses.asdict(setting)
    kept = (bool, int, float, list, tuple, type(None))
    return {k: v if isinstance(v, kept) else str(v) for k, v in values.items()}


if __name__ == "__main__":
    sys.exit(main())
