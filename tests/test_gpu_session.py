"""benchmarks.gpu on the CPU: measurements are runs of a study, the rest is commands; refusals."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from pathlib import Path

import pandas
import pytest
import torch

from benchmarks import gpu, vision_parts
from benchmarks.run import PROGRAM as BENCHMARKS
from benchmarks.vision_parts import Setting
from gpu_bench.run import PROGRAM
from mirrorflow import results
from mirrorflow.checks import InputError

FLAGS = ["--device", "cpu", "--dataset", "digits", "--epochs", "1", "--seeds", "1"]
FLAGS += ["--budget", "1", "--methods", "dense", "pilot"]


def flags(**changes):
    given = {"device": "cpu", "dataset": "digits", "methods": ["dense", "pilot"], "stages": None}
    given |= {"epochs": 5, "seeds": 1, "budget": 1, "out": Path("out"), "data_root": None}
    return argparse.Namespace(**{**given, **changes})


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def calls(monkeypatch):
    """Words of the commands; none is run."""
    found = []
    monkeypatch.setattr(gpu, "_run", lambda words, end: found.append(words) or 0)
    return found


def images():
    """Two batches of 16 random images, and 20 to evaluate on."""
    dataset = vision_parts.random_images(32, 20)
    return Setting("cifar10", "random images", dataset, 16, 1, torch.device("cpu"), "wall")


@pytest.mark.parametrize("part", list(gpu.MEASURED))
def test_what_is_measured_are_numbers_with_units(part, monkeypatch):
    monkeypatch.setitem(gpu.SIZES, "cpu", (2**16, 64))
    entries = gpu.MEASURED[part](images())
    assert all(math.isfinite(value) and value > 0 for _, value, _ in entries)
    assert len({what for what, _, _ in entries}) == len(entries)


def test_rates_are_of_counted_work(monkeypatch):
    """Bytes read and written by CALLS copies, multiply-adds of CALLS products, per second."""
    monkeypatch.setitem(gpu.SIZES, "cpu", (1000, 10))
    monkeypatch.setattr(Setting, "timed", lambda self, call: call() and 2.0)
    found = {what: value for what, value, _ in gpu.rates(images())}
    assert found["copy, read plus written"] == pytest.approx(2 * 1000 * gpu.CALLS / 2.0)
    assert found["bfloat16 product"] == pytest.approx(2 * 10**3 * gpu.CALLS / 2.0)


def test_a_measurement_is_made_once(tmp_path, monkeypatch):
    for part in gpu.MEASURED:
        monkeypatch.setitem(gpu.MEASURED, part, lambda _: [("copy", 1.0, "B/s"), ("mm", 2.0, "x")])
    words = ["gpu", "--device", "cpu", "--dataset", "digits", "--out", str(tmp_path)]
    assert BENCHMARKS.main(words) == 0
    for part in gpu.MEASURED:
        monkeypatch.setitem(gpu.MEASURED, part, lambda _: pytest.fail("measured again"))
    assert BENCHMARKS.main(words) == 0
    rows = results.load(tmp_path)
    assert rows[["entry", "value", "value_unit"]].to_dict("list") == {
        "entry": 2 * ["copy", "mm"],
        "value": 2 * [1.0, 2.0],
        "value_unit": 2 * ["B/s", "x"],
    }
    assert set(rows["device_name"]) == {"CPU"}


def test_every_stage_is_a_valid_command():
    found = gpu.stages(flags())
    for name, (module, study, *words) in found.items():
        program = {"gpu_bench.run": PROGRAM, "benchmarks.run": BENCHMARKS}[module]
        if "--tuned" not in words:
            assert program.configure(study, words).runs(), name
    assert set(found["balanced"]) - set(found["tuned"]) == {"--pilot.beta", "0"}


def test_no_part_has_a_method_that_was_not_asked_for():
    found = gpu.stages(flags(methods=["dense"]))
    assert "balanced" not in found
    assert all("pilot" not in words for words in found.values())


def test_the_grid_has_as_many_runs_at_once_as_were_the_fastest(calls, monkeypatch):
    speeds = {1: 10.0, 2: 30.0, 4: 20.0, 8: 5.0}

    def rows(folder):
        return pandas.DataFrame({"key": ["a"], "images_per_second": [speeds[int(folder.name)]]})

    monkeypatch.setattr(gpu, "load", rows)
    assert gpu.work(flags(stages=["at-once", "plain"]), time.monotonic() + 9) == 0
    assert [words[-1] for words in calls[:4]] == [f"out/at-once/{n}" for n in speeds]
    assert calls[4][-4:] == ["--jobs", "2", "--out", "out/plain"]


def test_a_command_that_fails_ends_the_session(monkeypatch):
    seen = []
    monkeypatch.setattr(gpu, "_run", lambda words, end: seen.append(words) or 3)
    assert gpu.work(flags(), time.monotonic() + 9) == 3
    assert len(seen) == 1


def test_cifar_waits_for_its_folder(calls, capsys):
    given = flags(dataset="cifar10", stages=["device", "plain"])
    assert gpu.work(given, time.monotonic() + 9) == 0
    assert [words[:2] for words in calls] == [["benchmarks.run", "gpu"]]
    assert "plain: waits for --data-root" in capsys.readouterr().err


def test_the_time_is_over(monkeypatch):
    """SIGTERM, not a kill: the command puts its rows together or says how to go on."""
    waits = "import time; print(1, flush=True); time.sleep(60)"
    original = gpu.subprocess.Popen
    monkeypatch.setattr(
        gpu.subprocess, "Popen", lambda words: original([sys.executable, "-c", waits])
    )
    assert gpu._run([], time.monotonic()) == -signal.SIGTERM


REFUSED = {
    ("--minutes", "0"): "--minutes must",
    ("--stages", "epoch"): "--stages must be among device, speed,",
    ("--seeds", "0"): "--seeds must",
    ("--methods", "sgd"): "sgd",
}


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_bad_input_is_one_sentence(tmp_path, words, capsys):
    assert gpu.main([*FLAGS, "--out", str(tmp_path / "new"), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert REFUSED[words] in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is missing")
def test_cuda_without_cuda(tmp_path):
    with pytest.raises(InputError, match="torch sees no CUDA device here"):
        BENCHMARKS.main(["gpu", "--device", "cuda", "--out", str(tmp_path)])
