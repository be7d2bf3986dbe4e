"""python -m gpu_bench.run from end to end on real digits: rows, files, resuming, refusals."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from rich.progress import Progress

from gpu_bench import cycles, data, job, masks, methods, models, report, run
from gpu_bench.methods import option_groups
from gpu_bench.methods.pilot import Pilot
from gpu_bench.methods.powerprop import Powerprop
from gpu_bench.protocols import one_shot
from gpu_bench.settings import OneShot
from mirrorflow import results
from mirrorflow.runs import executors
from mirrorflow.runs.report import Contents, page

# a tenth of a second per epoch: what the files hold matters here, not how good it is
QUICK = ["--epochs", "2", "--batch-size", "359", "--jobs", "1", "--sparsities", "0", "0.5", "0.9"]
QUICK += ["--precision", "float32", "--layout", "contiguous"]  # else each folder is measured
STRENGTH = ["--pilot.total", "0.5", "--spred.total", "0.5"]


def main(folder, *flags):
    return run.main([*QUICK, "--out", str(folder), *flags])


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def _no_figures(monkeypatch):
    """Drawing takes longer than these runs; `finished` has drawn everything once."""
    monkeypatch.setattr(report, "figures", lambda *_: [])


pytestmark = pytest.mark.usefixtures("_no_figures")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Every method, one seed, with the ledger of m² − w²."""
    folder = tmp_path_factory.mktemp("one-shot")
    assert main(folder, "--methods", "all", "--seeds", "1", "--ledger", *STRENGTH) == 0
    return folder


@pytest.fixture(scope="module")
def frame(finished):
    return results.load(finished)


def test_one_row_per_run_and_sparsity(finished, frame):
    assert set(frame["method"]) == set(methods.METHODS)
    assert len(frame) == 3 * len(methods.METHODS)
    assert frame["status"].eq("completed").all()
    assert frame["accuracy"].between(0, 1).all()
    assert list(frame["sparsity"][:3]) == [0.0, 0.5, 0.9]
    # exact: to the nearest weight
    assert (frame["measured_sparsity"] - frame["sparsity"]).abs().max() < 1 / 200_000
    assert frame["threads_used"].eq(1).all()
    paths = results.load_paths(finished / "paths.npz")
    for key in frame["key"].unique():
        for name in cycles.CURVES:
            assert paths[f"{key}/{name}"].shape == (2,)
        assert paths[f"{key}/layer_density"].shape[0] == 3
        np.testing.assert_allclose(paths[f"{key}/layer_density"][0], 1.0)
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["configuration"]["options"]["pilot"]["total"] == 0.5
    assert manifest["sha256"]["rows.parquet"]
    drawn = {
        f"{name}.{kind}"
        for name in ("accuracy", "epochs", "layers", "ledger")
        for kind in ("png", "pdf")
    }
    assert drawn <= {path.name for path in finished.iterdir()}


def test_every_run_carries_the_theory(frame):
    """A as asked for, a = ½βe^{−4A}; no A where there is no such penalty."""
    rows = frame.drop_duplicates("key").set_index("method")
    spred, ours = rows.loc["spred"], rows.loc["pilot"]
    assert spred["total_free"] == pytest.approx(0.5)
    assert spred["total_spent"] == pytest.approx(spred["alpha_first"] * spred["rate_sum"])
    assert spred["scale_free"] == spred["scale_measured"] == 0.0
    # the controller moves α between the two epochs
    assert ours["total_free"] == pytest.approx(0.5, rel=0.5)
    assert ours["total_free"] != pytest.approx(0.5, rel=1e-3)
    assert ours["scale_free"] == pytest.approx(0.5 * math.exp(-4 * ours["total_free"]))
    assert ours["scale_measured"] == pytest.approx(ours["scale_free"], rel=0.2)
    others = rows.drop(index=["spred", "pilot"])
    for name in ("total_spent", "total_free", "scale_free", "scale_measured"):
        assert others[name].isna().all()


def test_the_ledger_says_what_is_decay(finished, frame):
    """Kept by the two methods that it is about; the median of the layers' losses is their sum."""
    rows = frame.drop_duplicates("key").set_index("method")
    followed = rows.loc[["pilot", "spred"]]
    assert followed["balance_ledger_holds"].all()
    assert rows.drop(index=["pilot", "spred"])["balance_ledger_bound"].isna().all()
    assert followed["ledger_decay"].to_numpy() == pytest.approx(followed["total_free"].to_numpy())
    ours = rows.loc["pilot"]
    totals = results.load_paths(finished / "paths.npz")[f"{ours['key']}/layer_total"]
    assert np.median(totals) == pytest.approx(ours["ledger_decay"] + ours["ledger_gradient"])
    assert math.isnan(rows.loc["spred", "ledger_gradient"])  # m² = w² from the start
    printed = Contents.of(finished).text("printed")
    assert re.search(r"pilot +│ +1 │ +0\.[0-9]{3} │ +-?0\.[0-9]{3} .* kept", printed)


def test_the_report_page_has_table_and_figures(finished):
    contents = Contents.of(finished)
    assert contents.title == "one-shot: digits, resnet20"
    names = [figure.name for figure in contents.figures]
    assert names == ["accuracy.png", "epochs.png", "layers.png", "ledger.png"]
    assert "95 % confidence interval" in contents.text("printed")
    text = page(contents)
    assert "mean ± 95 % confidence interval over seeds" in text
    assert contents.rows.attrs["units"]["training_flops"] == "multiply-adds"


def test_no_cut_is_the_trained_network(finished, frame):
    """Sparsity 0 and the last epoch's accuracy are one number, where folding changes nothing."""
    rows = frame[frame["sparsity"] == 0]
    assert (rows["accuracy"] == rows["uncut_accuracy"]).all()
    assert (rows["fresh_accuracy"] == rows["fresh_uncut_accuracy"]).all()
    # two epochs: what training measured is there again once the statistics are taken anew
    assert (rows["fresh_accuracy"] > rows["train_accuracy"] - 0.25).all()
    rows = rows[rows["method"] != "continuous"]
    assert (rows["accuracy"] == rows["last_accuracy"]).all()
    paths = results.load_paths(finished / "paths.npz")
    for _, row in rows.iterrows():
        assert paths[f"{row['key']}/test_accuracy"][-1] == row["accuracy"]


@pytest.mark.parametrize("name", ["dense", "pilot", "continuous"])
def test_files_rebuild_the_row_in_an_untouched_model(finished, frame, name):
    row = frame[(frame["method"] == name) & (frame["sparsity"] == 0.9)].iloc[0]
    start = finished / "weights" / row["files"]
    digits = data.load("digits")
    model = models.build("resnet20", digits.shape, digits.classes, seed=99)
    keys = list(model.state_dict())
    state = torch.load(start.with_name(f"{start.name}.pt"), weights_only=True)
    assert list(state) == keys
    model.load_state_dict(state)
    if name != "continuous":  # the whole network, not what the last cut left of it
        assert all(bool((w != 0).all()) for w in masks.prunable(model).values())
    mask = masks.load(start.with_name(f"{start.name}-mask-0.9000.pt"), model)
    masks.apply(model, mask)
    model.eval()
    right = total = 0
    with torch.no_grad():
        for images, labels in data.Batches(digits, 359, 0).evaluation():
            right += int((model(images).argmax(1) == labels).sum())
            total += len(labels)
    assert right / total == pytest.approx(row["accuracy"], abs=1e-12)
    zeros = sum(int((w == 0).sum()) for w in masks.prunable(model).values())
    assert zeros >= round(0.9 * row["prunable_weights"])
    text = json.loads(start.with_name(f"{start.name}.json").read_text())
    told = text["sparsities"]["0.9000"]
    assert told["measured_sparsity"] == pytest.approx(row["measured_sparsity"])
    assert set(told["layers"]) == set(masks.prunable(model))
    assert 0 < told["flops"]["masked"] < told["flops"]["dense"] == text["flops"]["dense"]


def test_cuts_are_the_smallest_weights(finished, frame):
    row = frame[(frame["method"] == "dense") & (frame["sparsity"] == 0.5)].iloc[0]
    start = finished / "weights" / row["files"]
    state = torch.load(start.with_name(f"{start.name}.pt"), weights_only=True)
    mask = masks.load(start.with_name(f"{start.name}-mask-0.9000.pt"))
    kept = torch.cat([state[name][m].abs() for name, m in mask.items()])
    cut = torch.cat([state[name][~m].abs() for name, m in mask.items()])
    assert float(kept.min()) >= float(cut.max())


def test_finished_runs_are_not_repeated(finished, frame, monkeypatch, capsys):
    """The same rows again without a computation; one more seed computes that one only."""
    calls = []
    original = one_shot.PROTOCOL.compute

    def counted(run, *rest):
        calls.append(run.spec["seed"])
        return original(run, *rest)

    monkeypatch.setattr(one_shot.PROTOCOL, "compute", counted)
    flags = ["--ledger", "--methods", "dense", "spred", *STRENGTH[2:]]
    assert main(finished, *flags, "--seeds", "1") == 0
    assert calls == []
    assert main(finished, *flags, "--seeds", "2") == 0
    assert calls == [1, 1]
    again = results.load(finished)
    before = frame[frame["method"].isin(["dense", "spred"])].reset_index(drop=True)
    assert_same_rows(again[again["seed"] == 0].reset_index(drop=True), before)
    # a seed's initial weights are the same for every method, and its own
    assert again["norm_initial"].nunique() == 2
    assert "± " in capsys.readouterr().out
    # forced: the same seed gives the same numbers, bit for bit, and computes
    assert main(finished, *flags, "--seeds", "1", "--force") == 0
    assert calls == [1, 1, 0, 0]
    forced = results.load(finished)
    clock = [name for name in forced if name.endswith("_seconds") or "per_second" in name]
    assert_same_rows(forced.drop(columns=clock), before.drop(columns=clock))


def test_force_gives_nothing_up_before_the_workers_answer(finished, capsys, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "CONNECT", 0.5)
    kept = {file: file.read_bytes() for file in (finished / "shards").glob("*.run")}
    flags = ["--methods", "dense", "--seeds", "1", "--force", "--scheduler", "tcp://127.0.0.1:9"]
    assert main(finished, *flags) == 2
    assert "tcp://127.0.0.1:9 does not answer" in capsys.readouterr().err
    assert kept
    assert all(file.read_bytes() == text for file, text in kept.items())


def assert_same_rows(ours, theirs):
    """Equal to the last bit; a column that is empty in one of the two has no type there."""
    ours, theirs = (rows.dropna(axis=1, how="all") for rows in (ours, theirs))
    pandas.testing.assert_frame_equal(ours, theirs[ours.columns], check_exact=True)
    assert len(ours.columns) == len(theirs.columns)


def test_processes_change_no_number(finished, frame, tmp_path, monkeypatch):
    seen = []
    add_task = Progress.add_task

    def added(*words, **more):
        seen.append(words[1])
        return add_task(*words, **more)

    monkeypatch.setattr(Progress, "add_task", added)
    flags = ["--ledger", "--methods", "dense", "pilot", "--seeds", "1", *STRENGTH[:2]]
    assert main(tmp_path, *flags, "--jobs", "2") == 0
    # live progress comes from there too, and leaves nothing behind
    assert sorted(seen) == ["dense seed 0", "pilot seed 0", "runs"]
    assert not (tmp_path / "progress").exists()
    there = results.load(tmp_path)
    here = frame[frame["method"].isin(["dense", "pilot"])].reset_index(drop=True)
    columns = ["key", "sparsity", "accuracy", "train_loss", "norm_final"]
    pandas.testing.assert_frame_equal(there[columns], here[columns], check_exact=True)


def test_divergence_is_a_status(tmp_path, capsys):
    assert main(tmp_path, "--methods", "dense", "--lr", "1e30", "--seeds", "1") == 0
    rows = results.load(tmp_path)
    assert list(rows["status"]) == ["diverged"] * 3
    assert rows["accuracy"].isna().all()
    assert "lower --lr" in rows["message"][0]
    assert "diverged" in capsys.readouterr().out


def test_half_precision_and_channels_last(tmp_path):
    """What CUDA uses by default, here on the CPU: other roundings, the same program."""
    flags = ["--methods", "dense", "pilot", "str", "--seeds", "1", "--precision", "bfloat16"]
    assert main(tmp_path, *flags, "--layout", "channels-last", "--deterministic") == 0
    rows = results.load(tmp_path)
    assert rows["status"].eq("completed").all()
    assert rows["accuracy"].notna().all()
    torch.use_deterministic_algorithms(False)


def test_validation_reads_held_out_training_images(tmp_path):
    assert (
        main(
            tmp_path,
            "--methods",
            "dense",
            "--seeds",
            "1",
            "--validation",
            "0.25",
            "--batch-size",
            "200",
        )
        == 0
    )
    rows = results.load(tmp_path)
    held = len(data.load("digits").split(0.25, 0).test_labels)
    # accuracies are whole numbers of held-out images
    whole = rows["accuracy"] * held
    assert (whole - whole.round()).abs().max() < 1e-9
    assert rows["steps"].iloc[0] == 2 * (1078 // 200)


REFUSALS = {
    ("--dataset", "mnist"): "--dataset must be one of digits, fashion-mnist, cifar10",
    ("--model", "vgg"): "--model must be one of resnet20",
    ("--methods", "magic"): "--methods must be among continuous, dense",
    ("--sparsities", "0.5", "1"): "--sparsities must lie in [0, 1), but one is 1.0",
    ("--sparsities", "-0.1"): "--sparsities must lie in [0, 1)",
    ("--sparsities", "nan"): "--sparsities must lie in [0, 1)",
    ("--batch-size", "5000"): "at most the number of training images",
    ("--seeds", "0"): "--seeds must be at least 1",
    ("--epochs", "0"): "--epochs must be at least 1",
    ("--lr", "nan"): "--lr must be a finite number above 0",
    ("--pilot.total", "-1"): "--pilot.total must be a finite number at least 0",
    ("--pilot.total", "5"): "decay can't act faster, but it is 5, which needs 471 steps.",
    ("--methods", "mask-l1", "--mask-l1.beta", "0"): "--mask-l1.beta must be",
    ("--pilot.swing", "0.9"): "--pilot.swing must be",
    ("--warmup", "3"): "--warmup must be",
    ("--momentum", "1"): "--momentum must lie in [0, 1)",
    ("--label-smoothing", "1"): "--label-smoothing must lie in [0, 1), but it is 1.0",
    ("--validation", "-0.5"): "--validation must lie in [0, 1), but it is -0.5",
    ("--device", "tpu9"): "device",
    ("--dataset", "cifar10", "--data-root", "/nonexistent"): "cifar10",
}  # fmt: skip


@pytest.mark.parametrize("flags", REFUSALS, ids=lambda flags: " ".join(flags))
def test_bad_input_is_one_sentence(tmp_path, flags, capsys):
    assert main(tmp_path / "new", *flags) == 2
    error = capsys.readouterr().err
    assert REFUSALS[flags] in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_tensorboard_without_tensorboard(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert main(tmp_path, "--tensorboard") == 2
    assert "pip install 'mirrorflow[tensorboard]'" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda(tmp_path, capsys):
    assert main(tmp_path, "--device", "cuda") == 2
    assert "CUDA" in capsys.readouterr().err


def test_unknown_protocol(capsys):
    assert run.main(["two-shot"]) == 2
    assert "one-shot" in capsys.readouterr().err


def test_too_little_gpu_memory_names_the_batch(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(cycles, "run", full)
    assert main(tmp_path, "--methods", "dense", "--seeds", "1") == 2
    assert "--batch-size 359 does not fit" in (error := capsys.readouterr().err)
    assert "--batch-size 179" in error


def test_a_run_that_breaks_leaves_the_others(tmp_path, monkeypatch, capsys):
    original = cycles.run

    def breaks(experiment, *rest):
        if experiment.spec["method"] == "spred":
            raise RuntimeError("broken on purpose")
        return original(experiment, *rest)

    monkeypatch.setattr(cycles, "run", breaks)
    assert main(tmp_path, "--methods", "dense", "spred", "--seeds", "1") == 1
    assert "broken on purpose" in capsys.readouterr().err
    rows = results.load(tmp_path)
    assert set(rows.loc[rows["status"] == "completed", "method"]) == {"dense"}
    (failed,) = rows[rows["status"] == "failed"].itertuples()
    assert failed.method == "spred"
    assert failed.attempts == 3
    assert "broken on purpose" in failed.message


def test_ctrl_c_keeps_what_is_finished(tmp_path, monkeypatch, capsys):
    original, calls = cycles.run, []

    def interrupted(experiment, *rest):
        calls.append(experiment.spec["method"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(experiment, *rest)

    monkeypatch.setattr(cycles, "run", interrupted)
    assert main(tmp_path, "--methods", "dense", "spred", "--seeds", "1") == 130
    assert "finished runs and the epochs of the others are kept" in capsys.readouterr().err
    assert len(list((tmp_path / "shards").glob("*.run"))) == 1


def test_interval_is_students():
    mean, half = report.interval([0.1, 0.2, 0.4])
    assert mean == pytest.approx(0.7 / 3)
    # t(0.975; 2) = 4.302653
    assert half == pytest.approx(
        4.302653 * np.std([0.1, 0.2, 0.4], ddof=1) / math.sqrt(3), rel=1e-6
    )
    assert math.isnan(report.interval([0.5])[1])
    assert report.interval([0.5, math.nan])[0] == 0.5


def test_runs_are_told_apart_by_what_changes_their_numbers():
    def keys(**changes):
        return [one.key for one in OneShot(methods=("dense", "pilot"), seeds=1, **changes).runs()]

    base = keys()
    assert len(set(base)) == 2
    assert keys(jobs=7, force=True, out=Path("elsewhere")) == base
    photos = {"dataset": "imagenet", "device": "cpu"}
    assert keys(**photos, workers=3) == keys(**photos)
    assert keys(epochs=30, batch_size=128, schedule="cosine", model="resnet20") == base
    for change in ({"epochs": 31}, {"batch_size": 64}, {"validation": 0.1}, {"sparsities": (0.5,)}):
        assert not set(keys(**change)) & set(base)
    for change in ({"beta": 0.0}, {"total": 2.0}, {"swing": 1.0}, {"threshold": 0.5}):
        dense, pilot = keys(options=option_groups()(pilot=Pilot(**change)))
        assert dense == base[0]
        assert pilot != base[1]
    # options of other methods leave a method's runs alone
    options = option_groups()(powerprop=Powerprop(kappa=3.0))
    other = OneShot(methods=("dense", "powerprop"), seeds=1, options=options).runs()
    assert other[0].key == base[0]


def test_a_run_leaves_a_note_of_every_epoch(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(job, "note", lambda *words: seen.append(words))
    assert main(tmp_path, "--methods", "spred", "--seeds", "1") == 0
    assert [words[2:5] for words in seen] == [("spred seed 0", 1, 2), ("spred seed 0", 2, 2)]
    for name in ("loss", "accuracy", "α", "A", "‖x‖₁", "images/s"):
        assert name in seen[0][5]


def test_help_explains_and_imports_little():
    """--help answers without torch; the benchmark never needs cvxpy."""
    code = (
        "import sys; sys.modules['cvxpy'] = None\n"
        "from gpu_bench import run\n"
        "try: run.main(['one-shot', '--help'])\n"
        "except SystemExit as end: assert end.code in (0, None)\n"
        "assert 'torch' not in sys.modules\n"
        "from gpu_bench import data, job, models, report\n"
        "from gpu_bench.protocols import one_shot\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for flag in (
        "--methods",
        "--pilot.total",
        "--pilot.threshold",
        "--data-root",
        "--deterministic",
    ):
        assert flag in done.stdout


@pytest.mark.slow
def test_pilot_and_spred_keep_their_accuracy_where_dense_fails(tmp_path):
    """The default command with one seed: 0.98 against less than 0.6 at 89 % zeros and more."""
    assert run.main(["--seeds", "1", "--out", str(tmp_path)]) == 0
    rows = results.load(tmp_path)
    sparse = rows[rows["sparsity"].between(0.89, 0.98)].groupby("method")["accuracy"]
    assert sparse.min()["pilot"] > 0.95
    assert sparse.min()["spred"] > 0.95
    assert sparse.max()["dense"] < 0.6


def test_an_own_model_and_a_pattern_from_end_to_end(tmp_path, monkeypatch, capsys):
    """Its module's text belongs to the run; 2:4 is one cut, whose zeros are counted."""
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def net(shape, classes):\n"
        "    layers = nn.Conv2d(shape[0], 8, 3), nn.ReLU(), nn.Flatten()\n"
        "    return nn.Sequential(*layers, nn.Linear(8 * 36, classes))\n"
        "def bare(shape, classes):\n"
        "    return nn.Flatten()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    flags = ["--methods", "dense", "--seeds", "1", "--epochs", "1", "--batch-size", "359"]
    flags += ["--jobs", "1", "--pattern", "2:4", "--precision", "float32", "--layout", "contiguous"]
    out = ["--out", str(tmp_path / "out")]
    assert run.main([*flags, "--model", "nets:net", *out]) == 0
    (row,) = results.load(tmp_path / "out").to_dict("records")
    linear = 8 * 36 * 10
    assert row["measured_sparsity"] == pytest.approx(0.5 * linear / (linear + 72))
    assert row["pattern"] == "2:4"
    assert row["model_source"] == models.source("nets:net")
    assert (tmp_path / "out" / "weights" / f"{row['files']}.pt").exists()
    capsys.readouterr()
    assert run.main([*flags, "--model", "nets:bare", *out]) == 2
    assert "has none" in capsys.readouterr().err
    assert run.main([*flags, "--model", "nets:net", "--sparsities", "0.5", *out]) == 2
    assert "--sparsities must be left out unless --pattern is left out" in capsys.readouterr().err
