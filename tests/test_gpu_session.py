"""benchmarks.gpu on the CPU: stages, archive, measurements, grid, tables, refusals."""

from __future__ import annotations

import argparse
import io
import json
import math
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from benchmarks import vision, vision_parts
from benchmarks.gpu import __main__, measurements, session, tables
from benchmarks.vision_parts import Mode, Setting
from gpu_bench import masks, report
from gpu_bench import run as command
from gpu_bench.protocols import one_shot
from mirrorflow import results
from mirrorflow.checks import InputError

CPU = torch.device("cpu")
FLAGS = ["--device", "cpu", "--dataset", "digits", "--epochs", "1", "--seeds", "1"]
FLAGS += ["--budget", "1", "--methods", "dense", "pilot"]


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


def started(out, minutes=9.0, archive=None):
    return session.Session(out, minutes, CPU, archive)


def flags(**changes):
    given = {"device": "cpu", "dataset": "digits", "methods": ["dense", "pilot"]}
    return argparse.Namespace(**{**given, "epochs": 1, "seeds": 1, "budget": 1, **changes})


# --- stages on disk ---


def test_a_finished_stage_is_not_repeated(tmp_path):
    calls = []

    def ask(**asked):
        started(tmp_path).stage("one", asked, lambda: calls.append(1) or {"number": len(calls)})
        return session.read(tmp_path, "one")["result"]["number"]

    assert ask(size=1) == 1
    assert ask(size=1) == 1
    assert ask(size=2) == 2  # another question
    saved = json.loads((tmp_path / "one.json").read_text())
    assert (saved["status"], saved["asked"]["device"]) == ("complete", "CPU")
    assert torch.__version__.startswith(saved["environment"]["packages"]["torch"])
    (tmp_path / "one.json").write_text("{")  # torn
    assert ask(size=2) == 3


def test_a_stage_that_fails_is_saved_and_tried_again(tmp_path):
    now = started(tmp_path)

    def breaks():
        raise RuntimeError("no such kernel")

    def refuses():
        raise InputError("all 6 of str diverged.")

    for compute, message in ((breaks, "no such kernel"), (refuses, "all 6 of str diverged.")):
        now.stage("one", {}, compute)
        found = session.read(tmp_path, "one")
        assert found["status"] == "failed"
        assert message in found["result"]["message"]
    assert found["result"]["message"] == "all 6 of str diverged."  # a sentence, no traceback
    assert now.failed == ["one", "one"]
    now.stage("one", {}, lambda: {"number": 1})
    assert session.read(tmp_path, "one")["result"] == {"number": 1}


def test_a_stage_that_is_not_complete_goes_on(tmp_path):
    now, states = started(tmp_path), iter([False, True])
    for status in ("begun", "complete", "complete"):
        now.stage("one", {}, lambda: {"complete": next(states)})
        assert session.read(tmp_path, "one")["status"] == status


def test_without_time_no_stage_begins(tmp_path):
    started(tmp_path, 0.9).stage("one", {}, lambda: pytest.fail("it began"))
    assert session.read(tmp_path, "one") is None


def test_the_archive_holds_what_a_later_session_needs(tmp_path):
    archive, first = tmp_path / "gpu.zip", tmp_path / "first"
    for place in ("tuned/shards/a.run", "tuned/weights/a.pt", "tuned/checkpoints/a/1.npz"):
        (first / place).parent.mkdir(parents=True, exist_ok=True)
        (first / place).write_bytes(b"some bytes")
    started(first, archive=archive).stage("one", {}, lambda: {"number": 1})
    later = started(tmp_path / "second", archive=archive)
    later.stage("one", {}, lambda: pytest.fail("it was done before"))
    files = {str(p.relative_to(later.out)) for p in later.out.rglob("*") if p.is_file()}
    assert files == {"one.json", "tuned/shards/a.run"}
    (later.out / "one.json").write_text("newer")
    started(later.out, archive=archive)
    assert (later.out / "one.json").read_text() == "newer"  # not over what is there


def test_a_damaged_archive_is_refused(tmp_path, capsys):
    archive = tmp_path / "gpu.zip"
    archive.write_bytes(b"PK but no zip file")
    assert __main__.main([*FLAGS, "--out", str(tmp_path / "o"), "--archive", str(archive)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --archive must be the zip file of a session, but")
    assert error.count("\n") == 1


def test_an_archive_writes_nothing_outside(tmp_path):
    archive = tmp_path / "gpu.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("../outside.json", "{}")
    started(tmp_path / "out", archive=archive)
    assert not (tmp_path / "outside.json").exists()


# --- measurements ---


def test_rates_are_of_counted_work(monkeypatch):
    """2·count bytes and 2·side³ operations over the time of a call."""
    monkeypatch.setattr(measurements, "SIZES", {"cpu": (1000, 10)})
    times = iter([3.0, 2.0, 4.0] * 2)  # the fastest repetition counts
    monkeypatch.setattr(Setting, "timed", lambda self, call: call() and next(times))
    found = measurements.rates(images())
    assert found == {"copy_rate": 2000 * 10 / 2.0, "product_rate": 2000 * 10 / 2.0}


def test_epochs_stand_beside_a_plain_and_a_compiled_loop(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    monkeypatch.setattr(measurements, "fastest", lambda _: Mode(capture=True))
    found = measurements.epochs(images())
    rows = found["rows"]
    assert found["failure"] == ""
    entries = [row["entry"] for row in rows]
    assert entries[:2] == ["plain loop, 0 DataLoader workers", "compiled loop, bf16"]
    assert {f"Trainer, pilot, {word}" for word in ("captured fp32", "eager bf16")} <= {*entries}
    assert {row["base"] for row in rows} == {entries[0]}
    assert all(min(row["seconds"]) > 0 for row in rows)
    json.dumps(rows)


def test_without_a_compiler_the_other_epochs_are_timed(tmp_path, monkeypatch):
    def breaks(*_, **__):
        raise RuntimeError("no C compiler")

    monkeypatch.setattr(torch, "compile", lambda network, **_: breaks)
    monkeypatch.setattr(measurements, "fastest", lambda _: Mode(capture=True))
    monkeypatch.setattr(measurements, "REPEATS", 1)
    started(tmp_path).stage("epochs", {}, lambda: measurements.epochs(images()))
    text, _ = tables.write(tmp_path)
    assert "| Trainer, pilot, captured fp32 |" in text
    assert "compiled loop, bf16" not in text
    assert "The compiled loop failed: no C compiler" in text


def test_the_compiled_loop_trains_and_reads(monkeypatch):
    """Beside the plain step on the same batches, in bfloat16; accuracy of the network it has."""
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    setting = images()
    loop = measurements.CompiledLoop(setting, Mode())
    start = [p.detach().clone() for p in loop.model.parameters()]
    accuracy = loop.epoch()
    assert all(not torch.equal(a, p) for a, p in zip(start, loop.model.parameters(), strict=True))
    hits = 0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for pixels, labels in setting.batches().evaluation():
            hits += int((loop.model(pixels).argmax(1) == labels).sum())
    assert accuracy == pytest.approx(hits / 20)


def test_a_profile_counts_what_a_step_does():
    found = measurements.profiled(images())
    calls = {name: count for name, count, _ in found["kernels"]}
    assert calls["aten::convolution_backward"] == 21  # ResNet-20's, shortcuts included
    seconds = [kernel[2] for kernel in found["kernels"]]
    assert seconds == sorted(seconds, reverse=True)
    assert sum(seconds) <= found["kernel_seconds"] * (1 + 1e-9)
    # forward, and backward twice as much but for the images' gradient; 2 flop a multiply-add
    forward = 2 * 16 * masks.flops(images().model(), (3, 32, 32))["dense"]
    first = 2 * 16 * 32 * 32 * 16 * 27
    assert found["flops"] == pytest.approx(3 * forward - first, rel=1e-3)


def test_bytes_are_those_that_operators_move():
    x = torch.ones(100)
    with measurements._Traffic() as traffic:
        x.view(10, 10)  # moves nothing
        assert traffic.bytes == 0
        _ = x + x
    assert traffic.bytes == 3 * 400


# --- the grid ---


def test_every_part_is_a_valid_command():
    """Of CIFAR-10, whose images are not there: flags, counts, order."""
    every = ["dense", "pilot", "spred", "lasso", "mask-l1", "str", "powerprop", "continuous"]
    given = flags(dataset="cifar10", methods=every, epochs=150, seeds=3, budget=6)
    specs = {
        name: [run.spec for run in session.setting(words).runs()]
        for name, words in session.parts(given).items()
    }
    counts = {"tune": 8 * 6, "tuned": 8 * 3, "balanced": 3, "plain": 2 * 3, "iterative": 2 * 2}
    assert {name: len(specs[name]) for name in counts} == counts
    assert list(specs).index("tune") < list(specs).index("tuned")
    (pilot, *_) = (spec for spec in specs["tuned"] if spec["method"] == "pilot")
    assert (pilot["epochs"], pilot["batch_size"], pilot["model"]) == (150, 256, "resnet20")
    assert {0.8, 0.9, 0.95, 0.98} <= {*pilot["sparsities"]}
    assert {(s["dataset"], s["model"]) for s in specs["resnet18"]} == {("cifar100", "resnet18")}
    assert {spec["deterministic"] for spec in specs["same-bits"]} == {True}


def test_no_part_has_a_method_that_was_not_asked_for():
    lone = session.parts(flags(methods=["str"]))
    assert {*lone} == {"tune", "tuned"}
    for words in session.parts(flags(methods=["pilot"])).values():
        assert {run.spec["method"] for run in session.setting(words).runs()} == {"pilot"}


def test_the_ablation_differs_in_nothing_but_the_start():
    made = session.parts(flags(methods=["pilot"]))
    assert made["balanced"] == [*made["tuned"], "--pilot.beta", "0"]


def test_pieces_of_the_images_are_joined(tmp_path):
    stream = io.BytesIO()
    np.savez(stream, train_images=np.arange(1000))
    whole = stream.getvalue()
    (tmp_path / "cifar10.npz.aa").write_bytes(whole[:3000])
    assert not session._images("cifar10", tmp_path)  # the other is still to come
    assert not (tmp_path / "cifar10.npz").exists()
    (tmp_path / "cifar10.npz.ab").write_bytes(whole[3000:])
    assert session._images("cifar10", tmp_path)
    assert (tmp_path / "cifar10.npz").read_bytes() == whole
    assert not session._images("cifar100", tmp_path)


class Here:
    """`gpu_bench.run` in this process: a fresh interpreter takes longer than these runs."""

    def __init__(self, words):
        self.words = words[3:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def wait(self, seconds):
        return command.main(self.words)

    def kill(self):
        pass


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    out = tmp_path_factory.mktemp("gpu") / "out"
    words = [*FLAGS, "--out", str(out), "--archive", str(out.parent / "gpu.zip"), "--stages"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "SIZES", {"cpu": (1000, 10)})
        patch.setattr(report, "figures", lambda *_: [])
        patch.setattr(session, "Popen", Here)
        assert __main__.main([*words, "device", "tune", "tuned", "balanced"]) == 0
    return out


def test_a_rehearsal_leaves_stages_rows_and_tuned_settings(rehearsed):
    for name in ("device", "tune", "tuned", "balanced"):
        assert session.read(rehearsed, name)["status"] == "complete"
    chosen = json.loads((rehearsed / "tune" / "tuned.json").read_text())["methods"]
    rows = results.load(rehearsed / "tuned").drop_duplicates("key").set_index("method")
    assert {*rows.index} == {"dense", "pilot"}
    for name, entry in chosen.items():
        for flag, value in entry["setting"].items():
            assert rows.loc[name, flag] == value
    ablation = results.load(rehearsed / "balanced")
    assert {*ablation["init"]} == {"balanced"}
    assert {*ablation["total"]} == {rows.loc["pilot", "total"]}


def test_a_later_session_goes_on_elsewhere(rehearsed, tmp_path, monkeypatch, capsys):
    """From the archive alone."""
    monkeypatch.setattr(session, "Popen", lambda *_: pytest.fail("it began again"))
    words = [*FLAGS, "--out", str(tmp_path / "out"), "--stages", "tune", "tuned"]
    assert __main__.main([*words, "--archive", str(rehearsed.parent / "gpu.zip")]) == 0
    assert "tuned: done before" in capsys.readouterr().err


def test_settings_tuned_anew_are_another_question(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(session, "_once", lambda words, *_: asked.append(words[0]) or {})
    now, words = started(tmp_path), session.parts(flags())["tuned"]
    session.compute("tuned", words, now, None)
    assert asked == []  # waits for tune
    now.stage("tune", {}, dict)
    (tmp_path / "tune").mkdir()
    for content in ("one", "one", "another"):
        (tmp_path / "tune" / "tuned.json").write_text(content)
        session.compute("tuned", words, now, None)
    assert asked == ["one-shot", "one-shot"]


def test_a_part_that_is_stopped_goes_on(tmp_path, monkeypatch):
    """At the end of the time the command gets SIGTERM; rows are what it had finished by then."""
    begun, computed = [], one_shot.PROTOCOL.compute

    class Stopped(Here):
        def wait(self, seconds):
            if not begun:
                begun.append("wait")
                raise subprocess.TimeoutExpired("run", seconds)
            place = self.words.index("pilot")  # the first method alone
            command.main([*self.words[:place], *self.words[place + 1 :]])
            return 143

        def terminate(self):
            begun.append("terminate")

    monkeypatch.setattr(report, "figures", lambda *_: [])
    monkeypatch.setattr(session, "Popen", Stopped)
    now, words = started(tmp_path), session.parts(flags())["plain"]
    left = iter([500.0, 500.0, 5.0])
    monkeypatch.setattr(now, "left", lambda: next(left, 5.0))
    now.stage("plain", {}, lambda: session._once(words, tmp_path / "plain", now))
    assert begun == ["wait", "terminate"]
    assert session.read(tmp_path, "plain")["status"] == "begun"
    assert {*results.load(tmp_path / "plain")["method"]} == {"dense"}
    made = json.loads((tmp_path / "plain" / "manifest.json").read_text())
    assert "benchmarks.gpu" in made["command"]

    again = []
    monkeypatch.setattr(
        one_shot.PROTOCOL,
        "compute",
        lambda run, *a: again.append(run.spec["method"]) or computed(run, *a),
    )
    monkeypatch.setattr(session, "Popen", Here)
    later = started(tmp_path)
    later.stage("plain", {}, lambda: session._once(words, tmp_path / "plain", later))
    assert again == ["pilot"]
    assert session.read(tmp_path, "plain")["status"] == "complete"
    assert {*results.load(tmp_path / "plain")["method"]} == {"dense", "pilot"}


def test_a_stop_before_the_first_run_leaves_no_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(Here, "wait", lambda *_: -signal.SIGTERM)
    monkeypatch.setattr(session, "Popen", Here)
    now, words = started(tmp_path), session.parts(flags())["plain"]
    session.compute("plain", words, now, None)
    assert (now.failed, session.read(tmp_path, "plain")["status"]) == ([], "begun")
    assert tables._rows(tmp_path) == {}


def test_a_failed_part_is_the_exit_code(tmp_path, monkeypatch, capsys):
    codes = iter([1, 0])
    monkeypatch.setattr(Here, "wait", lambda *_: next(codes))
    monkeypatch.setattr(session, "Popen", Here)
    words = [*FLAGS, "--stages", "plain", "--out", str(tmp_path)]
    assert __main__.main(words) == 1
    assert "error: failed, to be tried again: plain\n" in capsys.readouterr().err
    assert __main__.main(words) == 0


def test_the_command_of_a_part_runs(tmp_path):
    """In a process of its own."""
    words = session.parts(flags(methods=["dense"]))["plain"]
    assert session._run(words, tmp_path, 1, started(tmp_path / "session"))
    frame = results.load(tmp_path)
    assert {*frame["method"]} == {"dense"}
    with pytest.raises(InputError, match=r"gpu_bench\.run ended with exit code 2\."):
        session._run([*words, "--lr", "-1"], tmp_path, 1, started(tmp_path / "session"))


def test_runs_at_once_decide_how_many_the_grid_has(tmp_path, monkeypatch):
    """Each run's images/s, added."""
    speeds = {1: 100.0, 2: 90.0, 4: 50.0, 8: 20.0}

    def fill(words, out, jobs, now):
        given.append((words[-2:], jobs))
        return True

    def load(out):
        count = int(out.name)
        keys = [f"{i}" for i in range(count)] * 2  # two sparsities each
        return pandas.DataFrame({"key": keys, "images_per_second": speeds[count]})

    given = []
    monkeypatch.setattr(session, "_run", fill)
    monkeypatch.setattr(session, "load", load)
    made, now = session.parts(flags()), started(tmp_path)
    session.compute("plain", made["plain"], now, None)  # nothing measured
    session.compute("at-once", made["at-once"], now, None)
    rows = session.read(tmp_path, "at-once")["result"]["rows"]
    assert [row["images_per_second"] for row in rows] == [100.0, 180.0, 200.0, 160.0]
    session.compute("tune", made["tune"], now, None)
    assert [jobs for _, jobs in given] == [1, 1, 2, 4, 8, 4]
    assert [words for words, _ in given[1:5]] == [["--seeds", f"{count}"] for count in speeds]


@pytest.mark.parametrize(("change", "differing"), [(0.0, []), (1e-16, ["k/loss"])])
def test_other_bits_are_named(tmp_path, monkeypatch, change, differing):
    timed = iter([1.0, 2.0])
    losses = iter([0.25, 0.25 + change])
    monkeypatch.setattr(session, "_run", lambda *_: True)
    monkeypatch.setattr(
        session,
        "load_paths",
        lambda _: {"k/loss": np.array(next(losses)), "k/images_per_second": np.array(next(timed))},
    )
    found = session._same_bits([], tmp_path, started(tmp_path))
    assert found == {"differing": differing}


def test_deterministic_runs_have_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "figures", lambda *_: [])
    monkeypatch.setattr(session, "Popen", Here)
    words = session.parts(flags())["same-bits"]
    words[words.index("--epochs") + 1] = "1"
    try:
        assert session._same_bits(words, tmp_path, started(tmp_path)) == {"differing": []}
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_the_exit_code(monkeypatch, capsys, number, code):
    monkeypatch.setattr(__main__, "run", lambda _: signal.raise_signal(number))
    assert __main__.main([]) == code
    assert "Interrupted; finished stages and runs are kept." in capsys.readouterr().err


# --- tables ---


def test_the_report_needs_no_run(rehearsed, tmp_path, capsys):
    out = tmp_path / "out"
    with zipfile.ZipFile(rehearsed.parent / "gpu.zip") as packed:
        packed.extractall(out)
    assert __main__.main(["report", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for part in ("device", "tune", "tuned", "balanced"):
        assert f"### {part}\n" in printed
    assert "TFLOP/s" in printed
    assert "| 98 % | dense |" in printed
    assert (out / "report.md").read_text().strip() == printed.strip()


def test_measurements_become_tables(tmp_path):
    now, setting = started(tmp_path), replace(images(), steps=2)
    now.stage("device", {}, lambda: {"copy_rate": 4e12, "product_rate": 8e14})
    now.stage("methods", {}, lambda: {"rows": vision_parts.steps(setting, Mode(), ["pilot"], 1)})
    step = {"mode": "captured bf16", "step_seconds": 1.5e-3, "kernel_seconds": 1.4e-3}
    step |= {"kernel_count": 455.0, "kernels": [["add<a|b>", 91.0, 2e-4]], "flops": 8e10}
    now.stage("profile", {}, lambda: {**step, "bytes": 2e9})
    now.stage("at-once", {}, lambda: {"rows": [{"runs": 8, "images_per_second": 4e5}]})
    now.stage("same-bits", {}, lambda: {"differing": ["k/loss"]})
    text, _ = tables.write(tmp_path)
    assert "4.00 TB/s" in text
    assert "800 TFLOP/s" in text
    assert "| pilot | " in text
    assert "1.50 ms a step, 1.40 ms in 455 kernels" in text
    assert "At the device's rates: 0.10 and 0.50 ms." in text
    assert "| `add<a¦b>` | 91.0 | 200.0 |" in text
    assert "| 8 | 400,000 |" in text
    assert "differ in k/loss." in text


def test_a_rehearsal_is_not_published(rehearsed, monkeypatch, capsys):
    monkeypatch.setattr(tables, "publish", lambda *_: pytest.fail("it was published"))
    assert __main__.main(["report", "--publish", "--out", str(rehearsed)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --publish needs results of one GPU, but")
    assert error.endswith("has those of: CPU.\n")
    assert error.count("\n") == 1


def test_results_of_one_gpu_are_published(tmp_path, monkeypatch):
    def refusal(stages, rows):
        for name, device in stages.items():
            monkeypatch.setattr(torch.cuda, "get_device_name", lambda _, device=device: device)
            now = session.Session(tmp_path, 9.0, torch.device("cuda" if device != "CPU" else "cpu"))
            now.stage(name, {}, dict)
        frames = {"tuned": pandas.DataFrame({"device_name": rows})}
        monkeypatch.setattr(tables, "_rows", lambda _: frames)
        try:
            tables.check_publishable(tmp_path)
        except InputError as error:
            return str(error)
        return None

    with pytest.raises(InputError, match="has those of: none"):
        tables.check_publishable(tmp_path)
    assert refusal({"device": "H200"}, ["H200"]) is None
    assert refusal({"device": "H200"}, ["H200", "CPU"]).endswith("those of: CPU, H200.")
    assert refusal({"device": "H200", "epochs": "H100"}, []).endswith("those of: H100, H200.")
    assert refusal({"device": "H200", "epochs": "CPU"}, []).endswith("those of: CPU, H200.")


def test_the_page_ends_with_what_was_measured(rehearsed, tmp_path):
    page, figure = tmp_path / "docs" / "gpu.md", rehearsed / "accuracy.png"
    page.parent.mkdir()
    page.write_text("# A page\n\nits words\n")
    figure.write_bytes(b"")
    for text in ("first", "second"):
        tables.publish(rehearsed, text, [figure], tmp_path)
    shown = "![accuracy](../figures/gpu/accuracy.png)\n"
    assert page.read_text() == f"# A page\n\nits words\n\n## Measured\n\nsecond\n{shown}"
    there = {file.name for file in (tmp_path / "figures" / "gpu").iterdir()}
    assert {"accuracy.png", "device.json", "tuned_rows.parquet"} <= there


def test_the_repository_shows_nothing_that_was_not_measured():
    root = Path(__file__).parents[1]
    page = (root / "docs" / "gpu.md").read_text(encoding="utf-8")
    assert (tables.HEADING in page) == (root / "figures" / "gpu").is_dir()


def test_a_report_of_nothing_says_so(tmp_path, capsys):
    assert __main__.main(["report", "--out", str(tmp_path)]) == 2
    assert "--out must hold what a session left" in capsys.readouterr().err


def test_the_ranking_is_paired_by_seed():
    """Seeds far apart, differences close together: the pairs tell them apart."""

    def lines(**methods):
        rows = [
            {"method": m, "seed": s, "sparsity": 0.9, "accuracy": value, "status": "completed"}
            for m, values in methods.items()
            for s, value in enumerate(values)
        ]
        fewer = [{**row, "sparsity": 0.5} for row in rows]  # zeros than are asked for
        diverged = {**rows[0], "seed": 9, "accuracy": math.nan, "status": "diverged"}
        return tables.ranking(pandas.DataFrame([*rows, *fewer, diverged])).splitlines()[2:]

    lasso, spred = lines(pilot=[0.5, 0.7, 0.9], spred=[0.48, 0.68, 0.87], lasso=[0.4, 0.7, 0.95])
    # t(0.975; 2) = 4.302653
    half = 100 * 4.302653 * np.std([0.02, 0.02, 0.03], ddof=1) / math.sqrt(3)
    assert spred == f"| 90 % | spred | 2.33 ± {half:.2f} | above |"
    assert lasso.endswith("| not separated |")
    (below,) = lines(pilot=[0.5, 0.7], str=[0.6, 0.8 + 1e-9])
    assert below.endswith("| below |")
    (alone,) = lines(pilot=[0.5], str=[0.4])
    assert alone == "| 90 % | str | 10.00 | not separated |"
    assert lines(dense=[0.5]) == []


# --- bad input ---

REFUSALS = {
    ("--device", "tpu9"): "device",
    ("--stages", "magic"): "--stages must be among device, epochs, methods, profile, at-once",
    ("--minutes", "-1"): "--minutes must be a finite number above 0",
    ("--seeds", "0"): "--seeds must be at least 1",
    ("--epochs", "0"): "--epochs must be at least 1",
    ("--budget", "0"): "--budget must be at least 1",
    ("--budget", "99", "--stages", "tune"): "--budget must be at least 1 and at most 9",
    ("--methods", "magic"): "--methods must be among dense, pilot",
    ("--methods", "str", "--stages", "balanced"): "but 'balanced' is not.",
}


@pytest.mark.parametrize("words", REFUSALS, ids=" ".join)
def test_bad_input_is_one_sentence(tmp_path, words, capsys):
    out = tmp_path / "new"
    code = __main__.main([*FLAGS, "--out", str(out), "--stages", "plain", *words])
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert REFUSALS[words] in error
    assert not out.exists()  # nothing has begun


def test_an_unknown_flag_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        __main__.main(["--magic"])
    assert stop.value.code == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda(tmp_path, capsys):
    assert __main__.main(["--out", str(tmp_path)]) == 2
    assert "no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["report"]])
def test_missing_packages_are_named_in_one_sentence(monkeypatch, words, capsys):
    monkeypatch.setitem(sys.modules, "tyro", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert __main__.main(words) == 2
    error = capsys.readouterr().err
    assert "needs tyro, scikit-learn, not installed here; pip install 'mirrorflow[" in error
    assert error.count("\n") == 1


BARE = """
import sys
for name in ("cvxpy", "clarabel", "torchvision", "tensorboard", "distributed"):
    sys.modules[name] = None
from benchmarks.gpu import __main__, measurements, session, tables
sys.exit(__main__.main(sys.argv[1:]))
"""


def test_a_bare_machine_is_enough(tmp_path):
    """Without the packages that only other parts of the project need."""
    words = [*FLAGS, "--stages", "methods", "--minutes", "0.5", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", BARE, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "methods: no time left\n")


def test_without_images_the_grid_waits(tmp_path, capsys):
    words = ["--device", "cpu", "--stages", "plain", "--out", str(tmp_path)]
    assert __main__.main(words) == 0
    assert __main__.main([*words, "--data-root", str(tmp_path)]) == 0
    assert capsys.readouterr().err == 2 * "plain: waits for cifar10.npz in --data-root\n"
    assert not (tmp_path / "plain.json").exists()
