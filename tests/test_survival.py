"""Sweeps that are killed, stopped, or lose their workers end in the table of an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas
import pytest

from mirrorflow import results
from mirrorflow.runs.runner import execute
from mirrorflow.runs.study import Study
from mirrorflow.sweep import __main__ as cli

PER_SEED = 5  # runs for each initialisation


def flags(out: Path, seeds: int, *more: str) -> list[str]:
    """A sweep of tiny problems, a few tens of milliseconds each."""
    problem = ["--problem", "gaussian", "--n", "4", "--d", "8", "--k", "1", "--seeds", str(seeds)]
    cases = ["--totals", "0", "0.5", "1", "--schedules", "constant", "geometric"]
    return [*problem, *cases, "--transition-betas", "--out", str(out), *more]


def start(out: Path, seeds: int, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mirrorflow.sweep", *flags(out, seeds, *more)]
    # a runner in the background may have told its children to ignore Ctrl-C
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)


def done(out: Path) -> int:
    return len(list((out / "shards").glob("*.run")))


def wait_for(process: subprocess.Popen[str], out: Path, runs: int) -> None:
    """Until that many runs are on disk, or the process has ended."""
    while process.poll() is None and done(out) < runs:
        time.sleep(0.01)


def same(out: Path, whole: Path) -> None:
    """Bit for bit, but for the columns of time."""

    def steady(folder: Path) -> pandas.DataFrame:
        frame = results.load(folder)
        return frame[[name for name in frame if not str(name).endswith("_seconds")]]

    pandas.testing.assert_frame_equal(steady(out), steady(whole), check_exact=True)
    ours, theirs = (results.load_paths(folder / "paths.npz") for folder in (out, whole))
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """30 runs, undisturbed, in one process."""
    out = tmp_path_factory.mktemp("whole")
    assert cli.main(flags(out, 6, "--jobs", "1")) == 0
    assert len(results.load(out)) == 6 * PER_SEED
    return out


def kill_often(out: Path, seeds: int, kills: int, seed: int) -> None:
    """SIGKILL at random moments, that many times, then to the end."""
    rng = np.random.default_rng(seed)
    for _ in range(kills):
        process = start(out, seeds, "--jobs", "2")
        # while it starts, or as the rows of a batch are written one by one, or in the next batch
        wait_for(process, out, done(out) + int(rng.integers(0, 2)))
        time.sleep(float(rng.uniform(0.0, 0.15)))
        assert process.poll() is None, "it ended before it was killed"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    process = start(out, seeds, "--jobs", "2")
    process.communicate()
    assert process.returncode == 0


def test_killed_and_resumed(tmp_path, whole):
    kill_often(tmp_path, 6, 3, seed=0)
    same(tmp_path, whole)


@pytest.mark.slow
def test_killed_fifty_times_in_two_thousand_runs(tmp_path):
    undisturbed = start(tmp_path / "whole", 400, "--jobs", "2")
    undisturbed.communicate()
    assert undisturbed.returncode == 0
    kill_often(tmp_path / "killed", 400, 50, seed=1)
    assert len(results.load(tmp_path / "killed")) == 2000
    same(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize(
    ("number", "jobs", "group"),
    [(signal.SIGINT, "2", True), (signal.SIGTERM, "2", True), (signal.SIGTERM, "1", False)],
    ids=["ctrl-c", "terminate-all", "terminate-one-process"],
)
def test_stopped_before_its_end_and_resumed(tmp_path, whole, number, jobs, group):
    """Ctrl-C and SIGTERM: no traceback, what is done is kept, the command to go on is named."""
    process = start(tmp_path, 40, "--jobs", jobs, "--force")  # long enough to be stopped within
    wait_for(process, tmp_path, 4)
    if group:  # as a terminal and a batch system do
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert "Interrupted; finished runs are kept. To go on: python -m mirrorflow.sweep" in errors
    assert "--force" not in errors  # which would begin anew
    assert "Traceback" not in errors
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "shards").glob("*.run")}
    assert 4 <= len(kept) < 40 * PER_SEED
    process = start(tmp_path, 6, "--jobs", jobs)
    assert process.wait() == 0
    same(tmp_path, whole)
    shards = tmp_path / "shards"
    assert all((shards / name).stat().st_mtime_ns == then for name, then in kept.items())


def test_a_worker_that_is_killed_costs_no_row(tmp_path, whole):
    process = start(tmp_path, 6, "--jobs", "2")
    wait_for(process, tmp_path, 3)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in children if b"loky" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(workers[-1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    same(tmp_path, whole)


def test_a_second_command_on_the_folder_is_refused(tmp_path, whole):
    first = start(tmp_path, 40, "--jobs", "1")
    wait_for(first, tmp_path, 1)
    second = start(tmp_path, 6, "--jobs", "1")
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"--out {tmp_path} is in use by another process" in errors
    assert first.poll() is None
    first.send_signal(signal.SIGTERM)
    first.communicate()
    assert start(tmp_path, 6, "--jobs", "1").wait() == 0
    same(tmp_path, whole)


def test_a_vision_run_is_stopped_in_the_middle_of_an_epoch(tmp_path):
    """That it goes on with the same bits is shown in test_gpu_protocols."""
    grid = ["--methods", "dense", "spred", "--seeds", "1", "--epochs", "50", "--jobs", "2"]
    command = [sys.executable, "-m", "gpu_bench.run", *grid, "--out", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and not list(tmp_path.glob("checkpoints/*/*.npz")):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 143
    assert list(tmp_path.glob("checkpoints/*/*.npz"))  # finished runs have none left
    assert "the epochs of the others are kept. To go on: python -m gpu_bench.run" in errors
    assert "Traceback" not in errors


@pytest.fixture
def cluster():
    """Two worker processes of Dask."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address=None, silence_logs=50
    ) as found:
        yield found


def test_dask_workers_one_of_which_is_killed(tmp_path, whole, cluster):
    """Two threads each, which must not compute at the same time."""
    process = start(tmp_path, 6, "--scheduler", cluster.scheduler_address)
    wait_for(process, tmp_path, 3)
    victim = next(iter(cluster.workers.values()))
    os.kill(victim.process.pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    same(tmp_path, whole)


@dataclass(frozen=True)
class Idle(Study):
    """Runs of 50 ms, with the row and the paths of a real one."""

    out: Path = Path()
    count: int = 200

    def runs(self) -> list[results.Run]:
        return [results.Run({"number": number}, self.digest()) for number in range(self.count)]

    @staticmethod
    def compute(specs):
        time.sleep(0.05)
        row = {f"column_{i}": i / 7 for i in range(90)}
        paths = {name: np.random.default_rng(0).random(100) for name in "abcdefg"}
        return [(row, paths) for _ in specs]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_overhead_is_at_most_a_twentieth(tmp_path, jobs):
    """Processor time of all but the computing, rows on disk included; waiting costs none."""
    study = Idle(out=tmp_path, jobs=jobs)
    runs = study.runs()
    started = time.process_time()
    assert execute(study, runs, study.store(), study.work(runs)) == []
    spent = (time.process_time() - started) / study.count
    print(f"\n{jobs} processes: {1e3 * spent:.2f} ms a run")
    assert len(list((tmp_path / "shards").glob("*.run"))) == study.count
    assert spent <= 0.05 * 0.05
