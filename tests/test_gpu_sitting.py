"""benchmarks.gpu from end to end on the CPU: stages, grid, time budget, tables, refusals."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from benchmarks import vision
from benchmarks.gpu import (
    __main__,
    ceilings,
    checks,
    concurrency,
    grid,
    hot_spots,
    page,
    plan,
    sitting,
    speed,
    stages,
    streams,
    verdicts,
)
from benchmarks.vision_parts import Setting
from gpu_bench import report
from gpu_bench import run as command
from gpu_bench.grid import Job, Readings
from gpu_bench.protocols import one_shot
from gpu_bench.ranks import Ranks
from gpu_bench.settings import OneShot
from mirrorflow import results
from mirrorflow.checks import InputError

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images():
    """Two batches of 16 random images, and 20 to evaluate on."""
    dataset = vision.random_images(32, 20)
    return Setting("cifar10", "random images", dataset, 16, 1, CPU, "wall")


def planned(out, **changes):
    made = plan.Plan(
        device="cpu",
        dataset="digits",
        data_root=None,
        out=out,
        epochs=1,
        tune_epochs=1,
        budget=1,
        seeds=1,
        methods=("dense", "pilot"),
    )
    return dataclasses.replace(made, **changes)


# --- stages on disk ---


def test_a_finished_stage_is_not_repeated(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"number": len(calls)}

    def ask(**asked):
        return sitting.Sitting(tmp_path, 1.0).stage("one", asked, compute)

    assert ask(device="a") == {"number": 1}
    assert ask(device="a") == {"number": 1}
    assert ask(device="b") == {"number": 2}  # another question
    written = json.loads((tmp_path / "one.json").read_text())
    assert (written["stage"], written["status"]) == ("one", "complete")
    assert torch.__version__.startswith(written["environment"]["packages"]["torch"])
    (tmp_path / "one.json").write_text("{")  # torn
    assert ask(device="b") == {"number": 3}


def test_a_stage_that_fails_is_on_disk_and_tried_again(tmp_path):
    now = sitting.Sitting(tmp_path, 1.0)

    def breaks():
        raise RuntimeError("no such kernel")

    assert now.stage("one", {}, breaks) is None
    found = sitting.read(tmp_path, "one")
    assert found["status"] == "failed"
    assert "no such kernel" in found["result"]["message"]
    assert now.stage("one", {}, lambda: {"number": 1}) == {"number": 1}


def test_a_stage_that_is_not_complete_goes_on(tmp_path):
    now, states = sitting.Sitting(tmp_path, 1.0), iter([False, True])
    for status in ("begun", "complete", "complete"):
        now.stage("one", {}, lambda: {"complete": next(states)})
        assert sitting.read(tmp_path, "one")["status"] == status


def test_a_refusal_is_kept_as_its_sentence(tmp_path):
    def refuses():
        raise InputError("all 6 of str diverged.")

    assert sitting.Sitting(tmp_path, 1.0).stage("one", {}, refuses) is None
    found = sitting.read(tmp_path, "one")
    assert (found["status"], found["result"]) == ("failed", {"message": "all 6 of str diverged."})


def test_without_time_no_stage_begins(tmp_path):
    over = sitting.Sitting(tmp_path, 1e-9)
    assert over.stage("one", {}, lambda: pytest.fail("it began")) is None
    with pytest.raises(InputError, match="--minutes must be a finite number above 0"):
        sitting.Sitting(tmp_path, 0.0)


# --- measurements ---


def test_the_ceilings_are_rates_of_counted_work(monkeypatch):
    """2·count bytes and 2·side³ operations over the time of one call."""
    monkeypatch.setattr(ceilings, "SIZES", {"cpu": (1000, 10)})
    monkeypatch.setattr(
        ceilings, "best_seconds", lambda device, call, repeats: call() is None or 0.5
    )
    found = ceilings.measure(CPU, 1)
    assert (found["copy_rate"], found["product_rate"]) == (4000.0, 4000.0)
    assert found["device"] == "CPU"


def test_the_fastest_repetition_counts(monkeypatch):
    clock, costs = (
        [0.0],
        iter([9.0] * ceilings.WARM_UP + [2.0] * ceilings.CALLS + [1.0] * ceilings.CALLS),
    )

    def call():
        clock[0] += next(costs)

    monkeypatch.setattr(ceilings.time, "perf_counter", lambda: clock[0])
    assert ceilings.best_seconds(CPU, call, 2) == pytest.approx(1.0)


def test_speed_is_taken_from_the_rows():
    found = speed.measure(images(), repeats=1, workers=0)
    (dense,) = (r for r in found["rows"] if r["entry"] == "Trainer, dense, eager fp32")
    assert found["epoch_seconds"]["dense"] == np.median(dense["seconds"])
    assert found["plain_seconds"] > 0
    assert found["ratios"]["dense"] == 1.0
    assert set(found["ratios"]) == set(speed.METHODS)
    assert found["waits"] == ["tolist"]
    json.dumps(found)


def test_hot_spots_are_the_longest_kernels():
    found = hot_spots.measure(images(), steps=2, longest=5)
    times = [kernel["microseconds"] for kernel in found["kernels"]]
    assert len(times) == 5
    assert times == sorted(times, reverse=True)
    assert any("convolution" in kernel["name"] for kernel in found["kernels"])
    (backward,) = (k for k in found["kernels"] if k["name"] == "aten::convolution_backward")
    assert backward["calls"] == 21  # ResNet-20's convolutions, shortcuts included
    assert 0 < sum(kernel["share"] for kernel in found["kernels"]) <= 1


def test_runs_at_once_are_timed_from_a_common_start():
    found = concurrency.measure(images, (1, 2), ("streams",), epochs=1)
    assert [row["runs"] for row in found["rows"]] == [1, 2]
    for row in found["rows"]:
        assert row["failure"] is None
        assert row["images_per_second"] == pytest.approx(32 / row["seconds_per_run_epoch"])
    assert found["best"] in found["rows"]


def test_spans_count_from_first_start_to_last_end(monkeypatch):
    spans = [(10.0, 13.0), (11.0, 16.0)]
    monkeypatch.setattr(concurrency, "_by_streams", lambda task, setting, count: spans[:count])
    found = concurrency.measure(images, (1, 2), ("streams",), epochs=3)
    assert [row["seconds_per_run_epoch"] for row in found["rows"]] == [1.0, 1.0]  # 3/3, 6/(2·3)


def test_a_way_that_fails_leaves_the_other(monkeypatch):
    def breaks(*_):
        raise RuntimeError("no second context")

    monkeypatch.setattr(concurrency, "_by_processes", breaks)
    found = concurrency.measure(images, (2,), concurrency.WAYS, epochs=1)
    assert "no second context" in found["rows"][0]["failure"]
    assert found["best"]["way"] == "streams"


def test_a_run_that_fails_lets_the_others_go(monkeypatch):
    """At once, not when their patience is at its end."""
    monkeypatch.setattr(concurrency, "PATIENCE", 20.0)
    calls, started = [], time.perf_counter()

    def sometimes(*_):
        calls.append(threading.get_ident())
        if len(calls) == 1:
            raise RuntimeError("out of memory")
        return torch.zeros(())

    monkeypatch.setattr(concurrency.speed.vision_parts.Trainer, "accuracy", sometimes)
    with pytest.raises((RuntimeError, threading.BrokenBarrierError)):
        concurrency._by_streams(concurrency.Task(images, "dense", 1), images(), 2)
    assert time.perf_counter() - started < 10.0


@pytest.mark.slow
def test_processes_share_a_clock():
    """Fresh interpreters on digits; their spans overlap."""
    make = partial(speed.setting, CPU, "digits", None)
    spans = concurrency._by_processes(concurrency.Task(make, "dense", 1), 2)
    (a, b), (c, d) = spans
    assert max(a, c) < min(b, d)


TRAINING = """
import os, sys, time
from benchmarks.gpu import concurrency
def make():
    print(os.getpid(), flush=True)
    time.sleep(120)
if __name__ == "__main__":
    concurrency._by_processes(concurrency.Task(make, "dense", 1), 2)
"""


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(tmp_path):
    script = tmp_path / "training.py"
    script.write_text(TRAINING)
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as parent:
        children = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
        # the pipe is at its end when no child holds it any more
        ended = threading.Thread(target=parent.stdout.read)
        ended.start()
        ended.join(timeout=10.0)
        late = ended.is_alive()
        if late:
            for child in children:
                os.kill(child, signal.SIGKILL)
    assert not late


# --- what only CUDA can break ---


@pytest.fixture
def _in_this_process(monkeypatch):
    """A fresh interpreter takes longer than these runs."""

    def python(*words):
        code = command.main([*words[2:], "--batch-size", "359"])
        return type("Done", (), {"returncode": code, "stderr": ""})

    monkeypatch.setattr(checks, "_python", python)
    monkeypatch.setattr(report, "figures", lambda *_: [])
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_in_this_process")
def test_the_same_bits_twice():
    found = checks.deterministic("cpu", ("--dataset", "digits", "--epochs", "1"))
    assert found == {"same": True, "differing": []}


def test_other_bits_are_named(monkeypatch):
    contents = iter(
        [{"loss": np.ones(2), "fc": np.ones(2)}, {"loss": np.ones(2), "fc": np.zeros(2)}]
    )
    monkeypatch.setattr(checks, "_contents", lambda _: next(contents))
    monkeypatch.setattr(checks, "_python", lambda *_: type("Done", (), {"returncode": 0}))
    assert checks.deterministic("cpu", ()) == {"same": False, "differing": ["fc"]}


def test_a_cpu_has_no_memory_to_fill():
    assert checks.memory("cpu")["named"] is None


def test_a_message_that_helps_names_the_batch():
    good = "error: --batch-size 1024 does not fit into the memory of cuda; try --batch-size 512.\n"
    assert checks.names_the_batch(2, "some warning\n" + good)
    assert not checks.names_the_batch(1, good)
    assert not checks.names_the_batch(2, "error: CUDA out of memory.\n")
    assert not checks.names_the_batch(2, "Traceback …\n" + good)
    assert not checks.names_the_batch(2, good.replace("512", "1024"))


# --- the grid ---


def test_every_part_of_the_plan_is_a_valid_command(tmp_path):
    """Of CIFAR-10, whose images are not there: flags, counts, order."""
    made = planned(
        tmp_path, dataset="cifar10", epochs=150, tune_epochs=30, budget=6, seeds=3, methods=("all",)
    )
    runs = {}
    for part in plan.parts(made):
        flags = [list(words) for words in part.commands]
        if part.needs:
            assert part.needs in runs  # comes before
            assert str(made.tuned) in flags[0]
            flags = [words[: words.index("--tuned")] for words in flags]
        runs[part.name] = [
            one.spec for words in flags for one in command.configure(part.protocol, words).runs()
        ]
    assert [name for name, specs in runs.items() if len(specs) == 24] == ["tuned", "paper-seeds"]
    assert {name: len(specs) for name, specs in runs.items()}["tune"] == 8 * 6
    (pilot,) = (spec for spec in runs["paper"] if spec["method"] == "pilot")
    assert (pilot["alpha_initial"], pilot["delta"], pilot["threshold"]) == (1e-4, 1.01, 8000.0)
    assert (pilot["lr"], pilot["epochs"], pilot["batch_size"]) == (0.2, 150, 256)
    assert {0.8, 0.9, 0.95, 0.98} <= set(pilot["sparsities"])
    assert len(pilot["sparsities"]) == 25 + 4
    assert {spec["total"] for spec in runs["totals"]} == set(plan.TOTALS)
    assert runs["resnet18"][0]["model"] == "resnet18"


def test_the_ablation_differs_in_nothing_but_the_start(tmp_path):
    made = planned(tmp_path)
    (balanced,) = (part for part in plan.parts(made) if part.name == "balanced")
    (tuned,) = (part for part in plan.parts(made) if part.name == "tuned")
    ours, theirs = list(balanced.commands[0]), list(tuned.commands[0])
    place = ours.index("--init")
    assert ours[place : place + 2] == ["--init", "balanced"]
    del ours[place : place + 2]
    ours[ours.index("--methods") : ours.index("--methods") + 2] = []
    theirs[theirs.index("--methods") : theirs.index("--methods") + 3] = []
    assert ours == theirs


def quick(out, monkeypatch, count=4):
    """A part of `count` runs that take no time, and the runs that were begun."""
    begun = []

    def compute(run, *_):
        begun.append(run.spec["seed"])
        lists = {"sparsities": [0.9], "measured_sparsity": [0.9], "accuracy": [0.5]}
        return {"status": "completed", "message": "", **lists}, {"loss": np.zeros(1)}

    monkeypatch.setattr(one_shot, "compute", compute)
    words = ("--device", "cpu", "--methods", "dense", "--seeds", str(count), "--sparsities", "0.9")
    return plan.Part("main", "one-shot", (words,)), planned(out), begun


@pytest.mark.parametrize("way", concurrency.WAYS)
def test_no_wave_begins_that_cannot_end(tmp_path, monkeypatch, way):
    part, made, begun = quick(tmp_path, monkeypatch)
    monkeypatch.setattr(grid, "execute", partial(_one_by_one))
    # 30 epochs of 1 s: 1.3 · 30 + 15 = 54 s for one run alone
    share = grid.Sharing(way, 2, 0.6, 1.0)  # two at once: max(1, 2 · 0.6) · 30 = 36, so 61.8 s
    assert share.seconds([part_run(made)] * 2) == pytest.approx(36.0)
    none = grid.carry_out(part, made, share, lambda: 61.0)
    assert (none["finished"], none["complete"], begun) == (0, False, [])
    times = iter([62.0, 10.0])  # enough for one wave; the pace stays where it was so short
    some = grid.carry_out(part, made, share, lambda: next(times))
    assert (some["finished"], some["complete"], sorted(begun)) == (2, False, [0, 1])
    rest = grid.carry_out(part, made, share, lambda: 1000.0)
    assert (rest["finished"], rest["complete"], sorted(begun)) == (4, True, [0, 1, 2, 3])
    frame = results.load(tmp_path / "main")
    assert sorted(frame["seed"]) == [0, 1, 2, 3]
    assert (
        "benchmarks.gpu" in json.loads((tmp_path / "main" / "manifest.json").read_text())["command"]
    )


def test_after_the_first_wave_as_many_start_together_as_end_in_time(tmp_path, monkeypatch):
    part, made, begun = quick(tmp_path, monkeypatch, count=12)
    together = []

    def execute(job, runs, *rest, **options):
        together.append(len(runs))
        return _one_by_one(job, runs, *rest, **options)

    monkeypatch.setattr(grid, "execute", execute)
    share = grid.Sharing("processes", 2, 0.5, 1.0)  # 30 s for two
    # after the first two: (200 − 15)/(1.3 · 30) = 4.7 waves, and then none
    times = iter([1000.0, 200.0, 20.0])
    found = grid.carry_out(part, made, share, lambda: next(times))
    assert together == [2, 8]
    assert (found["finished"], found["complete"]) == (10, False)
    assert sorted(begun) == list(range(10))


@pytest.mark.parametrize("way", concurrency.WAYS)
def test_a_part_with_failed_runs_is_tried_again(tmp_path, monkeypatch, way):
    part, made, begun = quick(tmp_path, monkeypatch, count=3)
    well, broken = one_shot.compute, [1]

    def compute(run, *rest):
        if run.spec["seed"] in broken:
            raise RuntimeError("broken on purpose")
        return well(run, *rest)

    monkeypatch.setattr(one_shot, "compute", compute)
    share = grid.Sharing(way, 1, 0.01, 0.01)

    def sit():
        now = sitting.Sitting(tmp_path, 5.0)
        now.stage("main", {}, partial(grid.carry_out, part, made, share, now.left))
        return now.failed, sitting.read(tmp_path, "main")

    failed, found = sit()
    assert (failed, found["status"]) == (["main"], "failed")
    assert (found["result"]["finished"], found["result"]["complete"]) == (2, False)
    assert "broken on purpose" in found["result"]["failures"][0]
    broken.clear()
    failed, found = sit()
    assert (failed, found["status"], found["result"]["finished"]) == ([], "complete", 3)
    assert sorted(begun) == [0, 1, 2]  # what was finished was not repeated


def test_settings_tuned_anew_are_another_question(tmp_path, monkeypatch):
    asked, now = [], sitting.Sitting(tmp_path, 1.0)
    monkeypatch.setattr(stages, "check", lambda *_: None)
    monkeypatch.setattr(stages, "carry_out", lambda part, *_: asked.append(part.name) or {})
    now.stage("tune", {}, dict)
    made = planned(tmp_path)
    made.tuned.parent.mkdir()
    for content in ("one", "one", "another"):
        made.tuned.write_text(content)
        stages.grid(now, made, ["tuned", "balanced", "lrr"])
    assert asked == ["tuned", "balanced", "lrr", "tuned", "balanced"]


def test_no_part_has_a_method_that_was_not_asked_for(tmp_path):
    def left(*methods):
        parts = plan.parts(planned(tmp_path, methods=methods))
        return {
            part.name: {one.spec["method"] for words in part.commands for one in runs(part, words)}
            for part in parts
        }

    def runs(part, words):
        words = words[: words.index("--tuned")] if "--tuned" in words else words
        return command.configure(part.protocol, list(words)).runs()

    assert set(left("str")) == {"paper", "tune", "tuned", "paper-seeds"}
    dense = left("dense", "str")
    assert set(left("str")) | {"lrr", "cyclic", "sculpt", "resnet18"} == set(dense)
    assert dense["lrr"] == dense["resnet18"] == {"dense"}
    pilot = left("pilot")
    assert set(pilot) == set(stages.names(planned(tmp_path))) - set(stages.MEASUREMENTS)
    assert all(methods == {"pilot"} for methods in pilot.values())


def part_run(made):
    return OneShot(device="cpu", methods=("dense",), seeds=1).runs()[0]


def _one_by_one(job, runs, folder, processes, force):
    for run in runs:
        folder.write(run, *job.compute(run, job.place, job.ranks))
    return []


def test_streams_change_no_number(tmp_path):
    """Threads of one process and runs one by one: the same bits."""
    setting = OneShot(
        device="cpu", methods=("dense", "pilot"), seeds=1, epochs=1, batch_size=359,
        sparsities=(0.5, 0.9), out=tmp_path / "a",
    )  # fmt: skip
    runs = setting.runs()
    frames = []
    for name in ("a", "b"):
        folder = Readings(tmp_path / name, one_shot.COLUMNS)
        made = dataclasses.replace(setting, out=tmp_path / name)
        job = Job(one_shot.compute, command.place(made), Ranks.join("cpu"))
        if name == "a":
            assert streams.execute(job, runs, folder, 2) == []
        else:
            _one_by_one(job, runs, folder, 1, False)
        frames.append(folder.consolidate(runs, "", {}))
        assert not list((tmp_path / name / "checkpoints").glob("*/*")) or name == "b"
    columns = ["key", "sparsity", "accuracy", "train_loss", "norm_final"]
    pandas.testing.assert_frame_equal(frames[0][columns], frames[1][columns], check_exact=True)


def test_streams_name_what_broke_and_keep_the_rest(tmp_path):
    def compute(run, *_):
        if run.spec["method"] == "dense":
            raise RuntimeError("broken on purpose")
        if run.spec["method"] == "spred":
            raise InputError("a sentence.")
        return {"status": "completed", "measured_sparsity": [0.9], "accuracy": [0.5]}, {}

    setting = OneShot(device="cpu", seeds=1, out=tmp_path)
    folder = Readings(tmp_path, one_shot.COLUMNS)
    job = Job(compute, command.place(setting), Ranks.join("cpu"))
    said = sorted(streams.execute(job, setting.runs(), folder, 2))
    assert len(said) == 2
    assert "broken on purpose" in said[0] + said[1]
    assert "a sentence." in said
    assert [folder.read(one) is not None for one in setting.runs()] == [False, False, True]


def test_ctrl_c_begins_no_further_run(tmp_path, monkeypatch):
    begun = []

    def compute(run, *_):
        begun.append(run.spec["seed"])
        time.sleep(0.05)
        return {"status": "completed", "measured_sparsity": [0.9], "accuracy": [0.5]}, {}

    def interrupted(*_):
        raise KeyboardInterrupt

    setting = OneShot(device="cpu", methods=("dense",), seeds=9, out=tmp_path)
    folder = Readings(tmp_path, one_shot.COLUMNS)
    monkeypatch.setattr(folder, "write", interrupted)
    job = Job(compute, command.place(setting), Ranks.join("cpu"))
    with pytest.raises(KeyboardInterrupt):
        streams.execute(job, setting.runs(), folder, 1)
    assert len(begun) < 4


DEAF = """
import sys, time
from benchmarks.gpu import __main__
from gpu_bench.protocols import one_shot
def compute(*_):
    print("begun", flush=True)
    time.sleep(120)
one_shot.compute = compute
sys.exit(__main__.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_the_exit_code(monkeypatch, capsys, number, code):
    monkeypatch.setattr(__main__, "measure", lambda _: signal.raise_signal(number))
    assert __main__.main([]) == code
    assert "Interrupted; finished stages and runs are kept." in capsys.readouterr().err


def test_ctrl_c_ends_a_sitting_whose_runs_share_a_process(tmp_path):
    """Threads can't be ended; the process can."""
    best = {"way": "streams", "runs": 2, "failure": None, "seconds_per_run_epoch": 0.01}
    result = {"rows": [best], "best": best}
    sitting.Sitting(tmp_path, 1.0).stage("concurrency", {}, lambda: result)
    flags = [*FLAGS, "--stages", "paper", "--out", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-c", DEAF, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert [process.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        time.sleep(0.2)  # until both threads are the pool's
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(timeout=20) == 130
        finally:
            process.kill()
        assert time.monotonic() - started < 3.0
        assert "Interrupted; finished stages and runs are kept." in process.stderr.read()


def test_the_best_sharing_is_what_the_grid_uses(tmp_path):
    assert stages.sharing(tmp_path) == grid.Sharing("processes", 1, 1.0, 1.0)
    rows = [
        {"way": "processes", "runs": 1, "failure": None, "seconds_per_run_epoch": 0.3},
        {"way": "streams", "runs": 4, "failure": None, "seconds_per_run_epoch": 0.1},
        {"way": "processes", "runs": 4, "failure": "…"},
    ]
    result = {"rows": rows, "best": concurrency.best(rows)}
    sitting.Sitting(tmp_path, 1.0).stage("concurrency", {}, lambda: result)
    assert stages.sharing(tmp_path) == grid.Sharing("streams", 4, 0.1, 0.3)


# --- one whole sitting ---

FLAGS = [
    "--device",
    "cpu",
    "--dataset",
    "digits",
    "--minutes",
    "5",
    "--epochs",
    "1",
    "--seeds",
    "1",
]
FLAGS += ["--tune-epochs", "1", "--budget", "1", "--methods", "dense", "pilot"]


@pytest.fixture(scope="module")
def sat(tmp_path_factory):
    out = tmp_path_factory.mktemp("gpu")
    flags = ["--stages", "device", "memory", "tune", "tuned", "balanced", "--repeats", "1"]
    assert __main__.main([*FLAGS, *flags, "--out", str(out)]) == 0
    return out


def test_a_sitting_leaves_stages_rows_and_tuned_settings(sat):
    for name in ("device", "memory", "tune", "tuned", "balanced"):
        assert sitting.read(sat, name)["status"] == "complete"
    chosen = json.loads((sat / "tune" / "tuned.json").read_text())["methods"]
    rows = results.load(sat / "tuned").drop_duplicates("key").set_index("method")
    assert set(rows.index) == {"dense", "pilot"}
    for name, entry in chosen.items():
        for flag, value in entry["setting"].items():
            assert rows.loc[name, flag] == value
    ablation = results.load(sat / "balanced")
    assert set(ablation["init"]) == {"balanced"}
    assert set(ablation["total"]) == {rows.loc["pilot", "total"]}


def test_a_later_sitting_goes_on(sat, monkeypatch, capsys):
    monkeypatch.setattr(one_shot, "compute", lambda *_: pytest.fail("a finished run began again"))
    flags = ["--stages", "tune", "tuned", "--out", str(sat)]
    assert __main__.main([*FLAGS, *flags]) == 0
    assert "tuned: done before" in capsys.readouterr().err


def test_what_is_tuned_waits_for_the_tuning(tmp_path, capsys):
    assert __main__.main([*FLAGS, "--stages", "tuned", "--out", str(tmp_path)]) == 0
    assert "tuned: waits for tune" in capsys.readouterr().err


def test_the_report_needs_no_run(sat, tmp_path, monkeypatch, capsys):
    out = tmp_path / "gpu"
    shutil.copytree(sat, out)
    assert __main__.main(["report", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "TFLOP/s" in printed
    assert "| dense | 1 |" in printed
    assert "| pilot, balanced start | 1 |" in printed
    assert (out / "report.md").read_text().strip() == printed.strip()
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "gpu.md", root / "docs")
    page.publish(out, page.sections(out), [out / "accuracy.png"], root)
    text = (root / "docs" / "gpu.md").read_text()
    assert "| pilot, balanced start | 1 |" in text
    published = {file.name for file in (root / "figures" / "gpu").iterdir()}
    assert {"accuracy.png", "device.json", "tuned.json", "tuned_rows.parquet"} <= published


def test_a_failed_stage_is_the_exit_code(tmp_path, monkeypatch, capsys):
    def breaks(_):
        raise RuntimeError("no such kernel")

    flags = [*FLAGS, "--stages", "memory", "--out", str(tmp_path)]
    monkeypatch.setattr(checks, "memory", breaks)
    assert __main__.main(flags) == 1
    assert "error: failed, to be tried again: memory\n" in capsys.readouterr().err
    monkeypatch.setattr(checks, "memory", lambda _: {})
    assert __main__.main(flags) == 0


def test_a_rehearsal_is_not_published(sat, monkeypatch, capsys):
    monkeypatch.setattr(page, "publish", lambda *_: pytest.fail("it was published"))
    assert __main__.main(["report", "--publish", "--out", str(sat)]) == 2
    error = capsys.readouterr().err
    assert "--publish needs a sitting on CUDA alone, but" in error
    assert error.count("\n") == 1


def test_one_device_and_one_data_set_are_published(tmp_path, monkeypatch):
    def refusal(rows, device="NVIDIA H100", dataset="cifar10"):
        asked = {"device": device, "dataset": dataset}
        sitting.Sitting(tmp_path, 1.0).stage("device", asked, dict)
        (tmp_path / "paper").mkdir(exist_ok=True)
        (tmp_path / "paper" / "manifest.json").touch()
        frame = pandas.DataFrame(rows, columns=["device", "dataset"])
        monkeypatch.setattr(page, "rows", lambda *_: frame)
        try:
            page.check_publishable(tmp_path)
        except InputError as error:
            return str(error)
        return None

    with pytest.raises(InputError, match="no device at all"):
        page.check_publishable(tmp_path)
    assert refusal([("cuda", "cifar10"), ("cuda:1", "cifar10")]) is None
    assert "on CPU, cuda." in refusal([("cuda", "cifar10")], device="CPU")
    assert "on NVIDIA H100, cpu, cuda." in refusal([("cuda", "cifar10"), ("cpu", "cifar10")])
    assert "has cifar10, digits." in refusal([("cuda", "cifar10"), ("cuda", "digits")])
    assert "has cifar10, digits." in refusal([("cuda", "cifar10")], dataset="digits")


def test_a_report_of_nothing_says_so(tmp_path):
    assert set(page.sections(tmp_path).values()) == {page.NOTHING}
    assert page.figures(tmp_path) == []


# --- verdicts ---


def accuracies(**methods):
    """Rows at 90 %: accuracy of each seed."""
    rows = [
        {"method": name, "seed": seed, "sparsity": 0.9, "accuracy": value, "status": "completed"}
        for name, values in methods.items()
        for seed, value in enumerate(values)
    ]
    return pandas.DataFrame(rows)


def test_the_ranking_is_paired_by_seed():
    """Seeds far apart, differences close together: the pairs tell them apart."""
    frame = accuracies(pilot=[0.5, 0.7, 0.9], spred=[0.48, 0.68, 0.87], lasso=[0.4, 0.7, 0.95])
    # the frame has one sparsity, which is the nearest to each that is asked for
    spred, lasso = verdicts.ranking(frame)[:2]
    differences = [0.02, 0.02, 0.03]
    assert spred["rival"] == "spred"
    assert spred["mean"] == pytest.approx(np.mean(differences))
    # t(0.975; 2) = 4.302653
    half = 4.302653 * np.std(differences, ddof=1) / math.sqrt(3)
    assert spred["half"] == pytest.approx(half, rel=1e-6)
    assert (spred["verdict"], lasso["verdict"]) == ("above", "not separated")
    below = verdicts.ranking(accuracies(pilot=[0.5, 0.7], str=[0.6, 0.8 + 1e-9]))
    assert {row["verdict"] for row in below} == {"below"}
    alone = verdicts.ranking(accuracies(pilot=[0.5], spred=[0.4]))
    assert {row["verdict"] for row in alone} == {"not separated"}


def test_bars_compare_what_was_measured_with_what_was_asked(tmp_path):
    now = sitting.Sitting(tmp_path, 1.0)
    best = {"way": "streams", "runs": 8, "failure": None, "seconds_per_run_epoch": 0.1}
    measured = {
        "speed": {
            "setting": "cifar10",
            "mode": "captured bf16",
            "epoch_seconds": {"dense": 0.3, "pilot": 0.41},
            "ratios": {"pilot": 1.2},
            "waits": ["a", "b"],
        },
        "concurrency": {"rows": [best], "best": best},
        "deterministic": {"same": True},
        "memory": {"named": None},
    }
    for name, result in measured.items():
        now.stage(name, {}, lambda result=result: result)
    run = {"dataset": "cifar10", "epochs": 150, "last_accuracy": 0.99, "wall_seconds": 720.0}
    tuned = pandas.DataFrame(
        [{**run, "key": str(i), "method": "dense", "seed": i} for i in range(24)]
    )
    paper = tuned.iloc[:1].assign(last_accuracy=0.912)
    found = {bar.name: bar for bar in verdicts.bars(tmp_path, tuned, paper)}
    holds = [bar.holds for bar in found.values()]
    assert holds == [True, False, False, False, True, True, None, False, False]
    minutes = next(bar for name, bar in found.items() if "minutes" in name)
    assert minutes.measured == "36.0"  # 24 · 12 minutes, eight at once


# --- bad input ---

REFUSALS = {
    ("--device", "tpu9"): "device",
    ("--stages", "magic"): "--stages must be among device, concurrency, speed",
    ("--minutes", "-1"): "--minutes must be a finite number above 0",
    ("--seeds", "0"): "--seeds must be at least 1",
    ("--runs", "0"): "--runs must be at least 1",
    ("--steps", "0"): "--steps must be at least 1",
    ("--workers", "-1"): "--workers must be at least 0",
    ("--budget", "99", "--stages", "tune"): "--budget must be at least 1 and at most 9",
    ("--methods", "magic", "--stages", "paper"): "--methods must be among dense, pilot",
    ("--methods", "magic"): "--methods must be among dense, pilot",
    ("--methods", "str", "--stages", "balanced"): "with --methods str, but 'balanced' is not.",
}


@pytest.mark.parametrize("flags", REFUSALS, ids=" ".join)
def test_bad_input_is_one_sentence(tmp_path, flags, capsys):
    code = __main__.main([*FLAGS, "--out", str(tmp_path / "new"), "--stages", "memory", *flags])
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert error.startswith("error: ")
    assert REFUSALS[flags] in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda(tmp_path, capsys):
    assert __main__.main(["--out", str(tmp_path)]) == 2
    assert "no CUDA device" in capsys.readouterr().err


def test_missing_packages_are_named_in_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "tyro", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert __main__.main([*FLAGS, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "needs tyro, scikit-learn, not installed here; pip install 'mirrorflow[" in error
    assert error.count("\n") == 1


def test_missing_images_are_said_before_anything_begins(tmp_path, capsys):
    flags = ["--device", "cpu", "--stages", "paper", "--data-root", str(tmp_path / "none")]
    assert __main__.main([*flags, "--out", str(tmp_path)]) == 2
    assert "cifar10 was not found" in capsys.readouterr().err
    assert not (tmp_path / "paper.json").exists()


def test_without_images_the_grid_waits(tmp_path, capsys):
    flags = ["--device", "cpu", "--stages", "memory", "paper", "--out", str(tmp_path)]
    assert __main__.main(flags) == 0
    assert "the grid waits for the images" in capsys.readouterr().err
    assert not (tmp_path / "paper.json").exists()
