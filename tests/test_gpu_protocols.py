"""The protocols that train in cycles, from the command line: rows, kills, several ranks."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from make_images import make_images

from gpu_bench import initial_masks, masks, models, report, run, settings
from gpu_bench.experiment import Experiment, Place
from gpu_bench.ranks import Ranks
from mirrorflow import InputError, results

ROOT = str(Path(__file__).parents[1])
ENVIRONMENT = {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}
LIMIT = 300  # seconds for a process that takes ten
DENSE = ["--epochs", "2", "--batch-size", "479", "--jobs", "1", "--seeds", "1"]
DENSE += ["--precision", "float32", "--layout", "contiguous"]  # else each folder is measured


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def _no_figures(monkeypatch):
    """Reports have tests of their own."""
    monkeypatch.setattr(report, "figures", lambda *_: [])
    monkeypatch.setattr(report, "print_table", lambda *_: None)


def _quick(flags):
    return DENSE


def command(protocol, *flags, ranks=0):
    start = [sys.executable, "-m"]
    if ranks:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"]
    return [*start, "gpu_bench.run", protocol, *_quick(flags), *map(str, flags)]


def finished(words):
    """Run a command in a session of its own, so that a hang ends all of its processes."""
    process = subprocess.Popen(
        words,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, error = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out, error


def same_rows(ours, theirs):
    """Equal to the last bit, but for the clock and what names the run."""
    named = {"key", "files", "ranks"}
    columns = [
        name
        for name in theirs
        if not name.endswith("_seconds") and "per_second" not in name and name not in named
    ]
    pandas.testing.assert_frame_equal(ours[columns], theirs[columns], check_exact=True)


# --- rows -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("_no_figures")
def test_iterative_rows(tmp_path):
    flags = ["--method", "dense", "pilot", "--variant", "lrr", "wr", "--cycles", "3"]
    assert run.main(["iterative", *DENSE, *flags, "--out", str(tmp_path)]) == 0
    rows = results.load(tmp_path)
    assert len(rows) == 2 * 2 * 3
    assert rows["status"].eq("completed").all()
    size = rows["prunable_weights"].iloc[0]
    for (name, _), part in rows.groupby(["method", "variant"]):
        assert list(part["cycle"]) == [1, 2, 3]
        for column in ("predicted_scale", "total_spent", "alpha_first"):  # dense has none
            assert part[column].notna().tolist() == [name == "pilot"] * 3
        kept = [size, size - round(0.2 * size), size - round(0.36 * size)]
        assert list(part["kept"]) == kept
        np.testing.assert_allclose(part["sparsity"], [1 - k / size for k in kept])
        np.testing.assert_allclose(part["epochs_spent"], [2, 4, 6])
        assert part["training_flops"].is_monotonic_increasing
        assert np.diff(part["training_flops"], n=2)[0] < 0  # a later cycle costs less
        np.testing.assert_allclose(part["overlap_previous"][1:], [0.8, 0.8], atol=1e-5)
        np.testing.assert_allclose(part["overlap_final"], [0.64, 0.8, 1.0], atol=1e-5)
        assert part["final_found"].between(0.3, 1.0).all()
        assert part[["accuracy", "fresh_accuracy"]].stack().between(0, 1).all()
        paths = results.load_paths(tmp_path / "paths.npz")
        key = part["key"].iloc[0]
        assert paths[f"{key}/alpha"].shape == (6,)
        densities = paths[f"{key}/layer_density"]
        assert densities.shape[0] == 3
        np.testing.assert_allclose(densities[0], 1.0)
        # what is taken home: the folded network under its last mask
        start = tmp_path / "weights" / part["files"].iloc[0]
        state = torch.load(start.with_name(f"{start.name}.pt"), weights_only=True)
        model = models.build("resnet20", (1, 8, 8), 10, seed=9)
        model.load_state_dict(state)
        zeros = 1 - kept[-1] / size
        mask = masks.load(start.with_name(f"{start.name}-mask-{zeros:.4f}.pt"), model)
        assert masks.density(mask) == kept[-1] / size
        assert all(bool((state[name][~part] == 0).all()) for name, part in mask.items())
    assert not any((tmp_path / "checkpoints").iterdir())


@pytest.mark.usefixtures("_no_figures")
@pytest.mark.parametrize("protocol", ["cyclic", "sculpt"])
def test_rows_of_masks_at_initialisation(protocol, tmp_path):
    flags = ["--method", "dense", "--mask", "erk", "snip", "--sparsities", "0.8", "0.9"]
    words = [protocol, *_quick(flags), *flags, "--cycles", "1", "--epochs-per-cycle", "1"]
    assert run.main([*words, "--out", str(tmp_path)]) == 0
    rows = results.load(tmp_path)
    cycles = 1 if protocol == "cyclic" else 2
    assert len(rows) == 4 * cycles
    assert set(rows["mask"]) == {"erk", "snip"}
    last = rows[rows["cycle"] == cycles]
    np.testing.assert_allclose(last["sparsity"], last["target_sparsity"], atol=1e-5)
    if protocol == "sculpt":
        np.testing.assert_allclose(rows[rows["cycle"] == 1]["sparsity"], 0.5, atol=1e-5)


@pytest.mark.usefixtures("_no_figures")
def test_a_diverged_cycle_keeps_the_rows_before(tmp_path, monkeypatch):
    from gpu_bench.experiment import Experiment

    make = Experiment.trainer

    def breaks(self, *arguments, **options):
        trainer = make(self, *arguments, **options)
        if options["cycle"] == 1:
            trainer.rates = trainer.rates * 1e30
        return trainer

    monkeypatch.setattr(Experiment, "trainer", breaks)
    flags = ["--method", "dense", "--cycles", "3", "--out", str(tmp_path)]
    assert run.main(["iterative", *_quick(flags), *flags]) == 0
    rows = results.load(tmp_path)
    assert list(rows["cycle"]) == [1, 2]
    assert list(rows["status"]) == ["diverged"] * 2
    assert rows["accuracy"].notna().tolist() == [True, False]
    assert "lower --lr" in rows["message"][0]


REFUSALS = {
    ("iterative", "--cycles", "0"): "--cycles must be at least 1 and at most 1000, but it is 0",
    ("iterative", "--keep", "1"): "--keep must lie in (0, 1), but it is 1.0",
    ("iterative", "--variant", "wr", "--rewind-epoch", "3"): (
        "--rewind-epoch must be at least 0 and at most 2, but it is 3"
    ),
    ("cyclic", "--cycles", "0"): "--cycles must be at least 1 and at most 1000, but it is 0",
    ("cyclic", "--sparsity", "1"): "--sparsities must lie in [0, 1), but one is 1.0",
    ("cyclic", "--mask-file", "nowhere.pt"): "--mask-file must be a file, but nowhere.pt is none",
    ("sculpt", "--cycles", "0"): "--cycles must be at least 1 and at most 1000, but it is 0",
    ("sculpt", "--start-sparsity", "0.7", "--target", "0.6"): (
        "--sparsities must be at least --start-sparsity 0.7, but one is 0.6"
    ),
}


@pytest.mark.parametrize("words", REFUSALS, ids=lambda words: " ".join(words))
def test_bad_input_is_one_sentence(words, tmp_path, capsys):
    assert run.main([words[0], *DENSE, *words[1:], "--out", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert REFUSALS[words] in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


PLANS = {"iterative": settings.Iterative, "cyclic": settings.Cyclic, "sculpt": settings.Sculpt}


def experiment(protocol, folder, **flags):
    """Of the first run of a protocol's flags, and the protocol's plan of it."""
    given = {"epochs": 1, "batch_size": 64, "seeds": 1, "methods": ("dense",), **flags}
    setting = PLANS[protocol](**given)
    place = Place(folder, mask_file=str(flags["mask_file"]) if "mask_file" in flags else None)
    made = Experiment(setting.runs()[0].spec, place, Ranks())
    return made, setting.module().PROTOCOL.plan(made)


def test_plans_say_how_often_from_where_and_how_far(tmp_path):
    """Cycles, what later ones go back to, what they carry, and the last mask's sparsity."""

    def said(protocol, **flags):
        plan = experiment(protocol, tmp_path, **flags)[1]
        return plan.cycles, plan.rewind, plan.carry, pytest.approx(plan.last_sparsity)

    carried = {"cycles": 3, "carry": "weights", "methods": ("pilot",)}
    assert said("iterative", variant=("lrr",), keep=0.5, **carried) == (3, None, "weights", 0.75)
    rewound = said("iterative", variant=("wr",), rewind_epoch=1, cycles=2, keep=0.7)
    assert rewound == (2, 1, "parameters", 0.3)
    assert said("iterative", variant=("imp",), cycles=1) == (1, 0, "parameters", 0.0)
    assert said("cyclic", sparsities=(0.9,), **carried) == (3, None, "weights", 0.9)
    assert said("sculpt", sparsities=(0.9,), **carried) == (4, None, "weights", 0.9)


@pytest.mark.parametrize("name", ["random", "erk", "equal", "snip", "synflow"])
def test_the_first_mask_is_the_one_at_initialisation(name, tmp_path):
    """Of the run's seed; SNIP's scores are of eight batches of an epoch that is not trained on."""
    made, plan = experiment("cyclic", tmp_path, mask=(name,), sparsities=(0.9,))
    found = plan.mask(0, made.model, None)
    batches = list(made.batches.epoch(0))[:8]
    assert len(batches) == 8
    expected = initial_masks.initial_mask(
        name, made.model, 0.9, made.spec["seed"], batches, made.shape
    )
    assert all(torch.equal(found[layer], mask) for layer, mask in expected.items())
    assert plan.mask(1, made.model, found) is None  # it stays


def test_a_mask_file_may_be_as_sparse_as_the_target(tmp_path):
    """To a weight, as both are rounded; and SCULPT-ing cuts from it before the last cycle alone."""
    file, (made, _) = tmp_path / "m.pt", experiment("cyclic", tmp_path)
    weights = masks.prunable(made.model)
    size = sum(weight.numel() for weight in weights.values())
    for cut, accepted in ((0.5, True), (0.5 + 1.0 / size, True), (0.5 + 3.0 / size, False)):
        masks.save(file, masks.magnitude(weights, cut))
        made, plan = experiment("sculpt", tmp_path, mask_file=file, sparsities=(0.5,), cycles=2)
        if accepted:
            found = plan.mask(0, made.model, None)
            assert masks.density(found) == pytest.approx(1.0 - cut, abs=1.0 / size)
            assert plan.mask(1, made.model, found) is None
            assert masks.density(plan.mask(2, made.model, found)) == pytest.approx(0.5, abs=1e-4)
        else:
            with pytest.raises(InputError, match="must be at least the sparsity of --mask-file"):
                plan.mask(0, made.model, None)


UNFIT = {
    "none kept": (
        lambda w: torch.zeros(w.shape, dtype=torch.bool),
        "must keep at least one weight",
    ),
    "numbers": (lambda w: torch.ones(w.shape), "masks must be boolean"),
    "NaN": (lambda w: torch.full(w.shape, math.nan), "masks must be boolean"),
    "bytes": (lambda w: torch.ones(w.shape, dtype=torch.uint8), "masks must be boolean"),
    "another shape": (lambda w: torch.ones(w.shape[1:], dtype=torch.bool), "weight's shape"),
}


@pytest.mark.parametrize("kind", [*UNFIT, "a layer missing", "a strange layer"])
def test_an_unfit_mask_file_is_refused_before_training(kind, tmp_path, capsys):
    file = tmp_path / "mask.pt"
    make, words = UNFIT.get(kind, (lambda w: torch.ones(w.shape, dtype=torch.bool), ""))
    weights = masks.prunable(models.build("resnet20", (1, 8, 8), 10, 0))
    content = {name: make(weight) for name, weight in weights.items()}
    if kind == "a layer missing":
        words = "must hold a mask for every weight, but conv1.weight has none"
        del content["conv1.weight"]
    elif kind == "a strange layer":
        words = "masks must be named like the model's weights"
        content["strange"] = torch.ones(3, dtype=torch.bool)
    torch.save(content, file)
    words_given = ["cyclic", *DENSE, "--method", "dense", "--cycles", "1", "--mask-file", str(file)]
    assert run.main([*words_given, "--out", str(tmp_path / "out")]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert error.startswith(f"error: {file}")
    assert words in error
    assert not list((tmp_path / "out").glob("checkpoints/*/*"))


# --- kills ------------------------------------------------------------------------------------


def killed_at_random(words, out, times, seed):
    """Start a command, kill it, start it again, …; at last let it end. Returns the kills.

    Of every two kills the second leaves worker processes behind, which must end by themselves.
    """
    draw = random.Random(seed)
    kills = 0
    for number in range(times):
        process = subprocess.Popen(
            words,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # not before it has begun, or all kills would find it importing torch
        started = time.monotonic()
        before = set(out.glob("checkpoints/*/*"))
        while process.poll() is None and time.monotonic() - started < LIMIT:
            if set(out.glob("checkpoints/*/*")) - before:
                break
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 0.6))
        if process.poll() is None:
            kills += 1
        if number % 2:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    code, _, error = finished(words)
    assert code == 0, error
    return kills


def killed_and_whole(tmp_path, times, seed, *more):
    flags = ["--method", "pilot", "--variant", "wr", "--rewind-epoch", "1", "--cycles", 4]
    flags += ["--epochs", 4, *more]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert finished(command("iterative", *flags, "--out", whole))[0] == 0
    kills = killed_at_random(command("iterative", *flags, "--out", broken), broken, times, seed)
    one, two = results.load(whole), results.load(broken)
    same_rows(two, one)
    for names in zip(one["files"].unique(), two["files"].unique(), strict=True):
        ours, theirs = (
            torch.load(folder / "weights" / f"{name}.pt", weights_only=True)
            for folder, name in zip((whole, broken), names, strict=True)
        )
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    return kills


def test_two_kills_change_no_bit(tmp_path):
    assert killed_and_whole(tmp_path, 2, 1) >= 1


@pytest.mark.slow
def test_twenty_kills_change_no_bit(tmp_path):
    """Two runs at a time. Each start gets at least one epoch further, so that of 16 epochs some
    kills come late: what is killed after the end is the finished command."""
    total = 0
    for number in range(3):
        folder = tmp_path / str(number)
        total += killed_and_whole(folder, 8, number, "--seeds", 2, "--jobs", 2)
    assert total >= 20


# --- several ranks ----------------------------------------------------------------------------


def test_two_ranks_train_as_one_process(tmp_path):
    """Batch norm over the whole batch: weights within 1e-5 after every epoch, the same α.

    In float64: at these 8×8 images already one float32 gradient of the first layer is 1e-3 from
    the float64 one, whatever the number of ranks, and eleven steps multiply that.
    """
    flags = ["--method", "pilot", "--cycles", "2", "--epochs", "1", "--batch-size", "128"]
    flags += ["--keep", "0.5", "--pilot.total", "0.1", "--pilot.swing", "3", "--lr", "0.05"]
    flags += ["--batch-norm", "synced", "--precision", "float64"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert finished(command("iterative", *flags, "--out", one))[0] == 0
    code, _, error = finished(command("iterative", *flags, "--out", two, ranks=2))
    assert code == 0, error
    ours, theirs = results.load(two), results.load(one)
    assert list(ours["ranks"]) == [2, 2]
    assert list(ours["alpha_last"]) == list(theirs["alpha_last"])
    np.testing.assert_allclose(ours["train_loss"], theirs["train_loss"], rtol=1e-8)
    assert list(ours["fresh_accuracy"]) == list(theirs["fresh_accuracy"])
    states = [
        torch.load(folder / "weights" / f"{rows['files'].iloc[0]}.pt", weights_only=True)
        for folder, rows in ((two, ours), (one, theirs))
    ]
    for name, weight in states[0].items():
        torch.testing.assert_close(weight, states[1][name], rtol=0, atol=1e-5, msg=name)


def test_ranks_that_disagree_change_nothing(tmp_path):
    """Two processes that torchrun's variables make one world, with different flags."""
    started = []
    for rank, seed in enumerate(("0.05", "0.1")):
        words = command("one-shot", "--method", "dense", "--out", tmp_path / "out", "--lr", seed)
        words += ["--batch-size", "478"]
        world = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        world |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29617"}
        started.append(
            subprocess.Popen(
                words,
                env={**ENVIRONMENT, **world},
                stderr=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                text=True,
            )
        )
    errors = [process.communicate(timeout=LIMIT)[1] for process in started]
    assert [process.returncode for process in started] == [2, 2]
    assert "the ranks must agree on their configuration" in errors[0]
    assert errors[1] == ""
    assert not list((tmp_path / "out" / "shards").glob("*.run"))


# --- image folders ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten classes of JPEG files of many sizes."""
    folder = tmp_path_factory.mktemp("photos")
    make_images(folder)
    return folder


def test_image_folders_on_two_ranks_after_a_kill(photos, tmp_path):
    """Loader, ranks and going on: killed at an epoch, finished by the same command."""
    flags = ["--dataset", "imagenet", "--data-root", photos, "--image-size", "32"]
    flags += ["--model", "resnet18", "--method", "dense", "--epochs", "3", "--batch-size", "64"]
    flags += ["--sparsities", "0.5", "--label-smoothing", "0.1"]
    words = command("one-shot", *flags, "--out", tmp_path / "broken", ranks=2)
    killed_at_random(words, tmp_path / "broken", 1, 3)
    code, _, error = finished(command("one-shot", *flags, "--out", tmp_path / "whole", ranks=2))
    assert code == 0, error
    same_rows(results.load(tmp_path / "broken"), results.load(tmp_path / "whole"))
