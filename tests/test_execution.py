"""Work goes out to processes and comes back, whatever happens to them on the way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from pathlib import Path

import pytest
import work

import mirrorflow as mf
from mirrorflow.runs import executors
from mirrorflow.runs.executors import Failure, executor, map_unordered
from mirrorflow.runs.stopping import stoppable

HERE = Path(__file__).parent


def carried(tasks, folder, jobs, size=1):
    """What became of each number, and how often it was tried."""
    items = [(str(folder), task, number) for number, task in enumerate(tasks)]
    pieces = [items[i : i + size] for i in range(0, len(items), size)]
    found = {}
    with executor(jobs) as workers:
        for piece, outcome in map_unordered(work.perform, pieces, workers):
            for place, item in enumerate(piece):
                assert item[2] not in found, "it came twice"
                found[item[2]] = outcome if isinstance(outcome, Failure) else outcome[place]
    tried = Counter(int(note.name.partition("-")[0]) for note in folder.iterdir())
    return found, tried


@pytest.mark.parametrize("jobs", [1, 2], ids=["here", "processes"])
def test_every_piece_comes_back_once(tmp_path, jobs):
    found, tried = carried(["double"] * 23, tmp_path, jobs, size=3)
    assert found == {i: 2 * i for i in range(23)}
    assert set(tried.values()) == {1}


@pytest.mark.parametrize("jobs", [1, 2], ids=["here", "processes"])
def test_what_raises_is_tried_three_times_and_spares_the_others(tmp_path, jobs):
    found, tried = carried(["double", "raise", "raise twice", "refuse"], tmp_path, jobs)
    assert found[0] == 0
    assert found[2] == 4
    assert found[1].attempts == 3
    assert "RuntimeError: broken on purpose, 1" in found[1].message
    assert not found[1].refused
    assert found[3] == Failure("number must be even, but it is 3.", 1, True)
    assert tried == {0: 1, 1: 3, 2: 3, 3: 1}


def test_a_piece_that_raises_is_cut(tmp_path):
    """Its companions have their results; it has had its three attempts."""
    found, _ = carried(["double", "double", "raise", "double"], tmp_path, 1, size=4)
    assert [found[i] for i in (0, 1, 3)] == [0, 2, 6]
    assert found[2].attempts == 3


def test_a_refused_item_does_not_take_its_piece_along(tmp_path):
    found, tried = carried(["double", "refuse", "double"], tmp_path, 1, size=3)
    assert [found[i] for i in (0, 2)] == [0, 4]
    assert found[1].message == "number must be even, but it is 1."
    assert found[1].refused
    assert tried[0] <= 2


def test_what_breaks_on_its_way_back_from_a_process_is_a_failure(tmp_path):
    found, _ = carried(["double", "unpicklable", "exit", "double"], tmp_path, 2)
    assert [found[i] for i in (0, 3)] == [0, 6]
    assert found[1].attempts == found[2].attempts == 3
    assert "pickle" in found[1].message
    assert "SystemExit" in found[2].message or "died 3 times" in found[2].message


class Bare(Executor):
    """A cluster whose every call ends in an error."""

    def __init__(self, error):
        self.error = error

    def submit(self, function, /, *args):
        future = Future()
        if self.error is None:
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            future.set_exception(self.error)
        return future


def test_workers_without_the_package_are_refused():
    error = RuntimeError("Error during deserialization")
    error.__cause__ = ModuleNotFoundError("No module named 'x'", name="mirrorflow")
    with pytest.raises(mf.InputError, match=r"workers can't import mirrorflow; install"):
        list(map_unordered(work.process, [[1]], Bare(error)))


def test_a_scheduler_that_is_gone_ends_the_work():
    """Dask cancels the calls whose scheduler does not answer any more."""
    with pytest.raises(mf.InputError, match="scheduler is gone; finished runs are kept"):
        list(map_unordered(work.process, [[1]], Bare(None)))


KilledWorker = type("KilledWorker", (Exception,), {})  # Dask's, known by its name


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("lost on its way"), "RuntimeError: lost on its way"),
        (BrokenExecutor("gone"), "The process that computed it died 3 times"),
        (KilledWorker("gone"), "The process that computed it died 3 times"),
    ],
    ids=["own", "broken", "named"],
)
def test_a_call_that_ends_in_an_error_has_three_attempts(error, message):
    """Whatever the executor itself says of it: a worker that is gone, or an error of the call."""
    ((items, failure),) = map_unordered(work.double, [[1]], Bare(error))
    assert items == [1]
    assert (failure.attempts, failure.refused) == (3, False)
    assert message in failure.message


class Scripted(Executor):
    """Calls end as a list says, each with the number of the item that it is about."""

    def __init__(self, *ends):
        self.ends = list(ends)

    def submit(self, function, /, *args):
        future, end = Future(), self.ends.pop(0)
        if isinstance(end, Exception):
            future.set_exception(end)
        else:
            future.set_result(function(*args))
        return future


def test_who_has_raised_is_not_blamed_for_a_death_in_company():
    """It raised, then a worker died with it and others: two of its three attempts are left."""
    died = BrokenExecutor("gone")
    pool = Scripted(RuntimeError("once"), died, died, None)
    assert list(map_unordered(work.double, [[7]], pool)) == [([7], [14])]


@pytest.mark.parametrize("workers", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_will_do(workers):
    with workers(2) as pool:
        found = dict(map_unordered(work.double, [(i, -i) for i in range(9)], pool))
    assert found == {(i, -i): [2 * i, -2 * i] for i in range(9)}


def test_slurm_jobs_are_processes_by_submitit(tmp_path, monkeypatch):
    """On this machine, by its local executor: one piece kills its job, one raises."""
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (HERE, HERE.parent))))
    (tmp_path / "notes").mkdir()
    tasks = ["double", "double", "die", "raise"]
    items = [[(str(tmp_path / "notes"), task, i)] for i, task in enumerate(tasks)]
    with executor(1, "local?timeout_min=5", tmp_path / "logs") as pool:
        found = {piece[0][2]: said for piece, said in map_unordered(work.perform, items, pool)}
    assert found[0] == [0]
    assert found[1] == [2]
    assert found[2].message.startswith("The process that computed it died 3 times")
    assert "RuntimeError: broken on purpose, 3" in found[3].message


class Jobs:
    """In the place of submitit's executor: jobs that are done when they are looked at twice."""

    def __init__(self, logs, cluster):
        self.asked, self.arrays, self.jobs = {"logs": logs, "cluster": cluster}, [], []
        MADE.append(self)

    def update_parameters(self, **options):
        self.asked |= options

    @contextlib.contextmanager
    def batch(self):
        self.arrays.append(0)
        yield

    def submit(self, function, *args):
        if self.asked["cluster"] == "slurm":
            raise RuntimeError("no such partition")
        self.arrays[-1] += 1
        self.jobs.append(Job(function, args))
        return self.jobs[-1]


class Job:
    def __init__(self, function, args):
        self.call, self.looks, self.cancelled = (function, args), 0, []

    def done(self):
        self.looks += 1
        return self.looks > 1 and [*self.call[1][-1]] != [0]  # that of 0 never is

    def result(self):
        function, args = self.call
        if [*args[-1]] == [7]:
            raise OSError("lost")
        return function(*args)

    def cancel(self, check):
        self.cancelled.append(check)


MADE: list[Jobs] = []


def test_slurm_gets_one_array_for_what_is_asked_together(tmp_path, monkeypatch):
    """With its options; a job's own error has three attempts, and the last are cancelled."""
    monkeypatch.setattr(pytest.importorskip("submitit"), "AutoExecutor", Jobs)
    monkeypatch.setattr(executors, "POLL", 0.01)
    MADE.clear()
    with executor(1, "local?slurm_partition=gpu&nodes=2", tmp_path) as pool:
        found = dict(map_unordered(work.double, [(1,), (2,), (7,)], pool))
        assert (found[1,], found[2,]) == ([2], [4])
        assert found[7,].attempts == 3
        assert "OSError: lost" in found[7,].message
        (jobs,) = MADE
        assert jobs.arrays == [3, 1, 1]
        expected = {"logs": tmp_path, "cluster": "local", "timeout_min": 24 * 60}
        assert jobs.asked == {**expected, "slurm_partition": "gpu", "nodes": 2}
        pool.submit(work.double, [0])
        end = time.monotonic() + 30.0
        while len(jobs.jobs) < 6 and time.monotonic() < end:
            time.sleep(0.01)
    assert [job.cancelled for job in jobs.jobs] == [[]] * 5 + [[False]]
    assert not pool._thread.is_alive()


def test_what_slurm_refuses_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(pytest.importorskip("submitit"), "AutoExecutor", Jobs)
    monkeypatch.setattr(executors, "POLL", 0.01)
    with executor(1, "slurm?timeout_min=5", tmp_path) as pool:
        found = dict(map_unordered(work.double, [(1,), (2,)], pool))
    assert [failure.attempts for failure in found.values()] == [3, 3]
    assert all("no such partition" in failure.message for failure in found.values())
    assert MADE[-1].asked["timeout_min"] == 5


def test_options_that_submitit_does_not_have(tmp_path):
    pytest.importorskip("submitit")
    with (
        pytest.raises(mf.InputError, match=r"--scheduler must be local\?OPTION=VALUE.*queue"),
        executor(1, "local?queue=long", tmp_path),
    ):
        pass


def test_who_kills_its_process_is_found(tmp_path):
    tasks = ["double", "double", "die", "double", "die once", "double", "double", "double"]
    found, tried = carried(tasks, tmp_path, 2)
    assert {i: found[i] for i in range(8) if i != 2} == {i: 2 * i for i in range(8) if i != 2}
    assert found[2].attempts == 3
    assert found[2].message.startswith("The process that computed it died 3 times")
    # once in company, which doesn't count, and three times alone
    assert tried[2] == 4
    assert max(tried.values()) == 4


def test_each_process_has_one_thread_and_one_call_that_waits(monkeypatch):
    asked = []
    monkeypatch.setattr("loky.get_reusable_executor", lambda *a, **k: asked.append((a, k)))
    workers = executors._Processes(3)
    workers._pool()
    (((jobs,), options),) = asked
    assert jobs == 3
    assert workers.in_flight == 6  # more would be lost with a worker, less would leave it idle
    assert set(options["env"]) == set(executors.THREADS)
    assert set(options["env"].values()) == {"1"}
    assert options["initializer"] is executors._settle
    assert options["initargs"] == (os.getpid(),)
    assert options["timeout"] is None  # none ends between two calls


def test_processes_are_others_and_end_with_the_executor():
    with executor(2) as workers:
        pids = {
            outcome[0]
            for _, outcome in map_unordered(work.process, [[i] for i in range(8)], workers)
        }
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2
    for pid in pids:
        gone(pid)


def gone(pid: int, within: float = 5.0) -> None:
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there after {within} s")


@pytest.mark.parametrize("scheduler", ["127.0.0.1:8786", "http://127.0.0.1", "ray", "dusk"])
def test_no_address(scheduler):
    with (
        pytest.raises(mf.InputError, match=r"--scheduler must be tcp://HOST:PORT .* it is '"),
        executor(1, scheduler),
    ):
        pass


def test_nobody_answers(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "CONNECT", 0.5)
    with (
        pytest.raises(mf.InputError, match=r"tcp://127.0.0.1:9 does not answer"),
        executor(1, "tcp://127.0.0.1:9"),
    ):
        pass


def test_package_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    address = "tcp://127.0.0.1:9"
    with pytest.raises(mf.InputError, match=f"--scheduler {address} needs"), executor(1, address):
        pass


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_raises(number, code):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as caught, stoppable("farewell"):
        signal.raise_signal(number)
    assert caught.value.code == code
    assert signal.getsignal(number) is before


def test_handlers_stay_as_they_are_in_a_thread():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def inside():
        with stoppable("farewell"):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [before]


DEAF = """
import sys, threading
import numpy as np
from mirrorflow.runs.stopping import stoppable
matrix = np.random.default_rng(0).standard_normal((4000, 4000))
with stoppable("finished runs are kept"):
    print("ready", flush=True)
    np.linalg.svd(matrix)
    print("decomposed", flush=True)
"""


def test_a_process_in_a_long_call_into_a_solver_is_cut_off():
    """The signal reaches Python only after it, which would be a minute later: it is not waited for,
    however fast the machine is."""
    process = subprocess.Popen(
        [sys.executable, "-c", DEAF],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 143
    assert process.stdout.read() == ""
    assert process.stderr.read() == "finished runs are kept\n"


ORPHANS = """
import sys
sys.path.insert(0, {here!r})
import work
from mirrorflow.runs.executors import executor, map_unordered
with executor(2) as workers:
    outcomes = map_unordered(work.process, [[i] for i in range(20)], workers)
    pids = {{pid for _, (pid,) in outcomes}}
    print(*pids, flush=True)
    items = [[({folder!r}, "wait", i)] for i in range(10_000)]
    list(map_unordered(work.perform, items, workers))
"""


def test_processes_end_when_their_parent_is_killed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", ORPHANS.format(here=str(HERE), folder=str(tmp_path))],
        stdout=subprocess.PIPE,
        text=True,
    )
    pids = [int(word) for word in process.stdout.readline().split()]
    assert pids
    process.kill()
    process.wait()
    for pid in pids:
        gone(pid)
