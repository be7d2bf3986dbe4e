"""Command line of the vision benchmark: python -m gpu_bench.run [PROTOCOL] [flags]."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any

from mirrorflow.checks import InputError

if TYPE_CHECKING:
    from gpu_bench.settings import OneShot

PROTOCOLS = {"one-shot": "train, cut the smallest weights, read the accuracy (the default)"}


def main(arguments: list[str] | None = None) -> int:
    """Run a grid; returns the exit code: 0 done, 1 runs failed, 2 bad input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words.pop(0) if words and not words[0].startswith("-") else "one-shot"
    try:
        if name not in PROTOCOLS:
            raise InputError(f"PROTOCOL must be one of {', '.join(PROTOCOLS)}, but it is {name!r}.")
        return run(configure(name, words))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def configure(name: str, words: list[str]) -> OneShot:
    """Read the flags; `--help` and unknown flags exit here."""
    import tyro

    from gpu_bench.settings import OneShot

    listed = "\n".join(f"  {protocol}: {text}" for protocol, text in PROTOCOLS.items())
    return tyro.cli(
        OneShot,
        args=words,
        prog=f"python -m gpu_bench.run {name}",
        description=f"{OneShot.__doc__}\n\nProtocols:\n{listed}",
    )


def run(setting: OneShot) -> int:
    """Compute what is missing, write the results, print the table, draw the figures."""
    if setting.deterministic:  # cuBLAS reads it once, before its first call
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if setting.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise InputError("--tensorboard needs the package tensorboard; pip install tensorboard.")
    runs = setting.runs()

    from rich.console import Console

    from gpu_bench import data, report
    from gpu_bench.grid import Job, Readings, execute
    from gpu_bench.protocols import one_shot
    from mirrorflow.results import command_line, load_paths

    root = None if setting.data_root is None else str(setting.data_root)
    dataset = data.load(setting.dataset, root, setting.download)  # missing data: said at once
    if setting.validation:
        dataset = dataset.split(setting.validation, 0)
    dataset.batches(setting.batch_size, 0)  # refuses a batch that is larger than the data
    folder = Readings(setting.out)
    command = command_line("gpu_bench.run")
    boards = setting.out / "tensorboard" if setting.tensorboard else None
    job = Job(one_shot.compute, setting.out / "weights", root, boards)
    try:
        failures = execute(job, runs, folder, setting.processes(), setting.force)
    except KeyboardInterrupt:
        print(f"\nInterrupted; finished runs are kept. To go on: {command}", file=sys.stderr)
        return 130
    frame = folder.consolidate(runs, command, _plain(setting))
    if len(frame):
        console = Console()
        if not console.is_terminal:  # a file has no width; 80 columns would cut numbers off
            console = Console(width=120)
        report.print_table(console, frame)
        drawn = report.figures(setting.out, frame, load_paths(setting.out / "paths.npz"))
        names = ["rows.parquet", "paths.npz", "manifest.json", "weights/"]
        names += [file.name for file in drawn]
        places = f"{frame['key'].nunique()} runs in {setting.out}/: {', '.join(names)}"
        console.print(f"\n{places}", highlight=False, soft_wrap=True)
    for failure in failures[:3]:
        if not failure.refused:
            words = f"error: a run failed: {failure.run.spec}\n{failure.message}"
            print(words, file=sys.stderr)
    refused = [failure.message for failure in failures if failure.refused]
    if refused:
        raise InputError(refused[0])
    if failures:
        print(f"error: {len(failures)} of {len(runs)} runs failed.", file=sys.stderr)
        return 1
    return 0


def _plain(setting: OneShot) -> dict[str, Any]:
    values = dataclasses.asdict(setting)
    kept = (bool, int, float, list, tuple, type(None))
    return {k: v if isinstance(v, kept) else str(v) for k, v in values.items()}


if __name__ == "__main__":
    sys.exit(main())
