"""Writing that is cut off: killed or out of space at any step, a file is the old or the new one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from test_fuzz import fuzzed, refused

from gpu_bench import masks
from gpu_bench.checkpoints import Checkpoints
from mirrorflow import InputError
from mirrorflow.results import Folder, Run, load, load_paths

RUNS = [Run({"study": "test", "seed": seed}, "d") for seed in range(3)]
PLACES = 40


class Killed(BaseException):
    """The process ends here: nothing that it would still do is done."""


class Fuse:
    """Ends the world at one step of writing; a write that it cuts leaves a part."""

    def __init__(self, steps: int, share: float, error: BaseException) -> None:
        self.left, self.share, self.error = steps, share, error

    def step(self) -> None:
        self.left -= 1
        if self.left < 0 and (self.left == -1 or isinstance(self.error, Killed)):
            raise self.error

    def write(self, stream: Any, content: bytes) -> int:
        try:
            self.step()
        except BaseException:
            stream.write(content[: int(self.share * len(content))])
            stream.flush()
            raise
        return stream.write(content)


class Torn:
    """A stream whose writes may be cut."""

    def __init__(self, stream: Any, fuse: Fuse) -> None:
        self.stream, self.fuse = stream, fuse

    def __enter__(self) -> Torn:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def write(self, content: bytes) -> int:
        return self.fuse.write(self.stream, content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def burning(fuse: Fuse) -> Iterator[None]:
    """Every opening, write, sync, renaming and removal burns one step of the fuse."""
    opened, synced = Path.open, os.fsync
    replaced, removed = Path.replace, Path.unlink

    def open_(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        if "w" not in mode:
            return opened(path, mode, *more, **named)
        fuse.step()
        return Torn(opened(path, mode, *more, **named), fuse)

    def stepping(action: Callable[..., Any]) -> Callable[..., Any]:
        def act(*given: Any, **named: Any) -> Any:
            fuse.step()
            return action(*given, **named)

        return act

    with (
        mock.patch.object(Path, "open", open_),
        mock.patch.object(Path, "replace", stepping(replaced)),
        mock.patch.object(Path, "unlink", stepping(removed)),
        mock.patch.object(os, "fsync", stepping(synced)),
    ):
        yield


def write(folder: Path, generation: int) -> None:
    """All that is ever written, each file with the generation in every number."""
    opened = Folder(folder / "out")
    for run in RUNS:
        opened.write(run, {"value": float(generation)}, {"x": np.full(500, float(generation))})
    with mock.patch("mirrorflow.runs.store.folder.environment", dict):
        opened.consolidate(RUNS, f"generation {generation}", {})
    masks.save(folder / "masks.pt", mask(generation))
    checkpoints = Checkpoints(folder, "key")
    checkpoints.save(generation, {"x": np.full(500, generation)})
    checkpoints.finish()


def mask(generation: int) -> dict[str, torch.Tensor]:
    return {f"layer{generation}": torch.arange(300) % (generation + 2) == 0}


def check(folder: Path, generations: tuple[int, ...]) -> None:
    """Whatever loads is whole and of one of the generations."""
    opened = Folder(folder / "out")
    for run in RUNS:
        row, arrays = opened.read(run) or pytest.fail("a run that had finished is lost")
        assert row["value"] in generations
        assert (arrays["x"] == row["value"]).all()
        assert arrays["x"].size == 500
    with contextlib.suppress(InputError):  # rows and manifest that are no pair
        frame = load(folder / "out")
        assert set(frame["value"]) <= set(generations)
        assert len(frame) == len(RUNS)
    for array in load_paths(folder / "out" / "paths.npz").values():
        assert array.size == 500
        assert array[0] in generations
        assert (array == array[0]).all()
    found = masks.load(folder / "masks.pt")
    assert any(
        found.keys() == mask(g).keys() and torch.equal(*found.values(), *mask(g).values())
        for g in generations
    )
    states = [arrays for _, arrays in Checkpoints(folder, "key").read()]
    assert states
    for arrays in states:
        assert not isinstance(arrays, InputError)
        assert (arrays["x"] == arrays["x"][0]).all()
        assert arrays["x"].size == 500


cuts = st.tuples(
    st.integers(0, PLACES),
    st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    st.sampled_from(["kill", "full"]),
)


@fuzzed(cuts, quick=40, long=300, kinds=("cut", "refused", "done"))
def test_cut_off_at_any_step(case: tuple[int, float, str], folder: Path) -> str:
    """The next reader sees old or new, whole; the next writer is not hindered."""
    steps, share, end = case
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write(folder, 1)
    error = Killed() if end == "kill" else OSError(errno.ENOSPC, "No space left on device")
    became = "done"
    try:
        with burning(Fuse(steps, share, error)):
            write(folder, 2)
    except Killed:
        became = "cut"
    except InputError as said:
        became = refused(said)
    check(folder, (1, 2))
    write(folder, 3)
    check(folder, (3,))
    return became


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
from test_fuzz_writing import check, write

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
random.seed(kills)

def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    return pid

def forever():
    generation = 2
    while True:
        write(folder, generation)
        generation += 1

os.waitpid(child(lambda: write(folder, 1)), 0)
for number in range(kills):
    pid = child(forever)
    time.sleep(random.uniform(0.0, 0.1))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    _, status = os.waitpid(child(lambda: check(folder, range(1, 10**6))), 0)
    if status:
        sys.exit(f"kill {number}")
print("whole")
"""


@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path, kills):
    """A real SIGKILL, from another process, while files are written without a pause."""
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path), str(kills)],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": f"{Path(__file__).parents[1]}{os.pathsep}."},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("whole\n")
