"""benchmarks: vision, total_decay and TensorBoard: what they write is what happened."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas
import pytest
import torch
import torch.nn.functional as F

from benchmarks import collapse, run, total_decay_runs, vision_parts
from benchmarks.plain_loop import PlainImages, PlainLoop, sgd, sgd_step
from gpu_bench import data, masks
from gpu_bench.methods import METHODS, Plan
from gpu_bench.rates import learning_rates
from mirrorflow import pilot, results
from mirrorflow.pilot import free_total

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def setting():
    digits = vision_parts.first_images(data.load("digits"), 96, 40)
    return vision_parts.Setting("digits", "real images", digits, 32, 2, CPU, "processor")


# --- the plain loop ---


def test_plain_images_are_those_of_the_batches():
    """Two pipelines, one image by image and one on whole batches, agree on what is not drawn."""
    dataset = vision_parts.random_images(24, 10)
    plain = PlainImages(
        dataset.test_images, dataset.test_labels, dataset.mean, dataset.std, augment=False
    )
    ours, labels = next(data.Batches(dataset, 10, 0).evaluation())
    theirs = torch.stack([plain[i][0] for i in range(10)])
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)
    assert [plain[i][1] for i in range(10)] == labels.tolist()


def test_plain_augmentation_draws_every_window_and_both_mirrors():
    dataset = vision_parts.random_images(2, 2)
    plain = PlainImages(dataset.train_images, dataset.train_labels, (0.0,) * 3, (1.0,) * 3, True)
    padded = F.pad(dataset.train_images[0].float() / 255.0, [4] * 4)
    windows = {}
    for top in range(9):
        for left in range(9):
            window = padded[:, top : top + 32, left : left + 32]
            for flipped, image in ((False, window), (True, window.flip(2))):
                windows[image.numpy().tobytes()] = top, left, flipped
    torch.manual_seed(0)
    seen = {windows[plain[0][0].contiguous().numpy().tobytes()] for _ in range(1500)}
    assert len(seen) > 155  # of 162; each is missed with probability 1e-4


def test_plain_step_is_the_dense_trainers(setting):
    """Both loops do the same arithmetic, so their times may be compared."""
    setting = replace(setting, dtype=torch.float64)
    trainer = setting.trainer("dense")
    ours = setting.step(trainer)
    model = setting.model().train()
    optimizer = sgd(model, vision_parts.LR)
    start = vision_parts._weights(model).clone()
    for _ in range(3):
        ours()
        sgd_step(model, optimizer, *next(iter(setting.batches().epoch(1))))
    moved = float((vision_parts._weights(model) - start).abs().max())
    apart = vision_parts._weights(model) - vision_parts._weights(trainer.fold())
    assert moved > 1e-4
    assert float(apart.abs().max()) < 1e-9 * moved  # float64's roundings over three steps


def test_plain_loop_learns_and_reads_the_test_images(setting):
    digits = vision_parts.first_images(data.load("digits"), 600, 100)
    loop = PlainLoop(setting.model(), digits, 64, CPU, lr=0.05)
    first, _ = loop.epoch()
    for _ in range(3):
        last, accuracy = loop.epoch()
    assert len(loop.train) == 600 // 64
    assert last < 0.5 * first
    loop.model.eval()
    with torch.no_grad():
        images, labels = next(data.Batches(digits, 100, 0).evaluation())
        assert accuracy == (loop.model(images).argmax(1) == labels).double().mean()
    assert accuracy > 0.3


# --- benchmarks.vision ---


def test_chain_rule_and_parametrize_take_the_same_steps(setting):
    """What `updates` compares in time is one algorithm, up to float64's roundings of five steps.

    Two orders of the same sums multiply a rounding by up to 1e5 (1e-11 here) in these steps; an
    update that differs in a coefficient is 1e-4 apart and more.
    """
    assert vision_parts.difference(setting) < 1e-9


def test_another_penalty_takes_other_steps(setting, monkeypatch):
    """The difference sees a decay of m and w that is off by A = 1e-3 over the run."""
    monkeypatch.setattr(vision_parts, "parameter_groups", _without_decay)
    assert vision_parts.difference(setting) > 1e-6


def _without_decay(model, weight_decay, alpha):
    return pilot.parameter_groups(model, weight_decay, 0.0)


def test_entries_take_turns_and_the_fastest_step_counts(setting, monkeypatch):
    calls, clock = [], [0.0]
    costs = {"a": iter([9.0] * 5 + [3.0, 1.0, 2.0, 5.0]), "b": iter([9.0] * 5 + [4.0] * 4)}

    def advance(name):
        calls.append(name)
        clock[0] += next(costs[name])

    monkeypatch.setattr(vision_parts.Setting, "now", lambda _: clock[0])
    entries = {name: partial(advance, name) for name in costs}
    seconds = vision_parts.interleaved(entries, setting, repeats=2)
    assert calls[2 * vision_parts.WARM_UP :] == ["a", "b"] * 4
    assert seconds == {"a": [1.0, 2.0], "b": [4.0, 4.0]}


def test_vision_writes_what_it_measured(tmp_path, capsys):
    out = tmp_path / "vision"
    flags = ["--settings", "digits", "--methods", "pilot", "str", "--steps", "1", "--repeats", "2"]
    assert run.main(["vision", *flags, "--device", "cpu", "--out", str(out)]) == 0
    frame = results.load(out)
    assert set(frame["batch_size"]) == {128}
    assert set(frame["clock"]) == {"processor"}
    parts = {part: rows.set_index("entry") for part, rows in frame.groupby("part", sort=False)}
    for rows in parts.values():
        seconds = results.load_paths(out / "paths.npz")[f"{rows['key'].iloc[0]}/seconds"]
        assert seconds.shape == (len(rows), 2)
        assert seconds.min() > 0
        names = rows.index.tolist()
        for name, own, base in zip(names, seconds, rows["base"], strict=True):
            ratios = own / seconds[names.index(base)]
            said = [rows.loc[name, f"{which}_ratio"] for which in ("least", "median", "most")]
            assert said == [ratios.min(), np.median(ratios), ratios.max()]
        assert rows["least_seconds"].tolist() == seconds.min(axis=1).tolist()
    assert parts["steps"].index.tolist() == ["dense", "pilot", "str"]
    assert len(parts["epochs"]) == 3
    for _, row in parts["epochs"].iterrows():
        assert (row["train_images"], row["test_images"]) == (1408, 360)
        assert row["most_rate"] == pytest.approx(1408 / row["least_seconds"])
    bases = ["dense", "dense", "plain loop, dense", "plain loop, dense"]
    assert parts["updates"]["base"].tolist() == bases
    text = (out / "table.md").read_text()
    assert text in capsys.readouterr().out
    assert text.count("**") == 2 * 3  # a heading for each part
    row = parts["steps"].loc["pilot"]
    cell = "{median_ratio:.3f} [{least_ratio:.3f}, {most_ratio:.3f}]".format(**row)
    assert cell in next(line for line in text.splitlines() if line.startswith("| pilot |"))


def test_cifar10_without_its_files_is_random_and_says_so():
    given = SimpleNamespace(steps=2, data_root=None, threads=1, workers=3)
    made = vision_parts.make_setting("cifar10", given, CPU)
    assert made.source == "random images of its shape"
    assert made.dataset.train_images.shape == (512, 3, 32, 32)
    assert len(made.dataset.test_labels) == 102
    assert made.dataset.augment
    assert made.clock == "wall"  # workers' time is not this process's


REFUSALS = {
    ("--steps", "0"): "--steps must be at least 1",
    ("--repeats", "0"): "--repeats must be at least 1",
    ("--threads", "0"): "--threads must be at least 1",
    ("--workers", "-1"): "--workers must be at least 0",
    ("--methods", "magic"): "--methods must be among continuous, dense",
    ("--device", "tpu9"): "device",
    ("--settings", "digits", "cifar10", "--data-root", "/none"): "cifar10 was not found",
}


@pytest.mark.parametrize("flags", REFUSALS, ids=lambda flags: " ".join(flags))
def test_bad_input_of_vision_is_one_sentence(tmp_path, flags, capsys):
    assert run.main(["vision", *flags, "--out", str(tmp_path / "no")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert REFUSALS[flags] in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


# --- benchmarks.total_decay ---


def curves(value, seeds=2):
    """Rows of a full grid whose every quantity is value(A, α, seed)."""
    rows = []
    for epochs in (10, 20):
        for lr in (0.1, 0.2, 0.4):
            for total in (0.5, 1.0, 2.0, 4.0, 8.0):
                for seed in range(seeds):
                    alpha = total / (epochs * lr)
                    row = {"method": "pilot", "status": "completed", "seed": seed, "epochs": epochs}
                    row |= {"lr": lr, "total": total, "total_free": total**2, "alpha": alpha}
                    row |= dict.fromkeys(collapse.QUANTITIES, value(total, alpha, seed))
                    rows.append(row)
    return pandas.DataFrame(rows)


def test_collapse_is_zero_over_the_axis_that_decides():
    """Power laws are straight where they are compared: log10 quantities against log A or log α."""

    def of(value):
        found = {row["quantity"]: row for row in collapse.collapse(curves(value))}
        return found["kept"]

    by_total = of(lambda total, alpha, seed: 0.5 * total**-0.7)
    assert by_total["by_total"] == pytest.approx(0.0, abs=1e-12)
    # log2 of lr · epochs is 0, 1, 2, 1, 2, 3: pairs are 19/15 apart; log2 A spans 4, log2 α 7
    assert by_total["by_alpha"] == pytest.approx(19 / 15 / 4)
    by_alpha = of(lambda total, alpha, seed: 0.1 * alpha**-0.7)
    assert by_alpha["by_alpha"] == pytest.approx(0.0, abs=1e-12)
    assert by_alpha["by_total"] == pytest.approx(19 / 15 / 7)
    # α at equal A depends on lr · epochs alone: 10·0.2 = 20·0.1, 10·0.4 = 20·0.2
    assert by_alpha["same_product"] == pytest.approx(0.0, abs=1e-12)
    assert by_alpha["same_lr"] > 0.1
    assert by_alpha["same_epochs"] > 0.1
    assert by_alpha["seeds"] == 0.0
    assert (by_alpha["pairs"], by_alpha["pairs_by_alpha"]) == (15, 15)
    # seeds a factor 10^0.7 apart; the range is that of the means, 0.7 log10(16)
    noisy = of(lambda total, alpha, seed: 0.1 * total**-0.7 * 10 ** (0.7 * seed))
    assert noisy["seeds"] == pytest.approx(1.0 / math.log10(16.0))
    assert noisy["by_total"] == pytest.approx(0.0, abs=1e-12)


def test_distance_of_two_curves_by_hand():
    one = pandas.DataFrame({"alpha": [1.0, 4.0], "value": [0.0, 2.0]})
    other = pandas.DataFrame({"alpha": [2.0, 8.0], "value": [3.0, 5.0]})
    # at α = 4 the other is 4, at α = 2 the one is 1; the ends lie outside
    assert collapse.distance(one, other, "alpha") == pytest.approx(2.0)
    far = pandas.DataFrame({"alpha": [16.0, 32.0], "value": [0.0, 0.0]})
    assert math.isnan(collapse.distance(one, far, "alpha"))


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("total-decay")
    flags = ["--epochs", "1", "--lr", "0.1", "0.2", "--totals", "1", "--seeds", "1", "--jobs", "1"]
    assert run.main(["total-decay", *flags, "--methods", "pilot", "--out", str(folder)]) == 0
    return folder, flags


def test_rows_of_the_study(studied):
    frame = results.load(studied[0])
    assert len(frame) == 2
    np.testing.assert_allclose(frame["total_spent"], frame["total"], rtol=1e-12)
    np.testing.assert_allclose(frame["alpha"] * frame["rate_sum"], frame["total"], rtol=1e-12)
    for row in frame.itertuples():
        rates = learning_rates(row.lr, "cosine", 1, 11, 1 / 30)
        assert row.total_free == free_total(rates, row.alpha, total_decay_runs.MOMENTUM)
    np.testing.assert_allclose(frame["scale_free"], 0.5 * np.exp(-4.0 * frame["total_free"]))
    for name in ("uncut", "cut", "uncut_running", "cut_running", "below_scale"):
        whole = frame[name] * (360 if name != "below_scale" else 1)
        assert frame[name].between(0, 1).all()
        if name != "below_scale":
            np.testing.assert_allclose(whole, whole.round(), atol=1e-9)
    grid = np.array([1.0, *(1.0 - np.array(masks.SPARSITIES)), 1.0 - total_decay_runs.CUT])
    assert all(np.isclose(grid, kept).any() for kept in frame["kept"])
    assert frame["effective_density"].between(0, 2 / math.pi).all()  # 2/π is a Gaussian's
    names = {path.name for path in studied[0].iterdir()}
    drawn = {f"{n}.{kind}" for n in ("total_decay", "total_decay_lag") for kind in ("png", "pdf")}
    assert drawn | {"collapse.md", "manifest.json"} <= names


def test_methods_of_the_study_differ_in_their_first_alpha_alone():
    """From the nominal total, also beyond what momentum lets it spend; the starts are theirs."""
    x = torch.tensor([0.5, -0.2])
    for name, kind in total_decay_runs.NOMINAL.items():
        method, usual = kind(total=6.0), METHODS[name](total=6.0)
        for one in (method, usual):
            one.begin(Plan(2, np.full(20, 0.1), (2,), momentum=0.9), x)
        assert method.alpha == pytest.approx(6.0 / 20.0)
        assert method.alpha > usual.alpha
        for ours, theirs in zip(method.inverse(x), usual.inverse(x), strict=True):
            assert torch.equal(ours, theirs)


def test_finished_runs_of_the_study_are_not_repeated(studied, monkeypatch):
    folder, flags = studied
    before = results.load(folder)
    monkeypatch.setattr(total_decay_runs, "_row", lambda spec: pytest.fail(f"computed {spec}"))
    monkeypatch.setattr(collapse, "report", lambda *_: "")
    assert run.main(["total-decay", *flags, "--methods", "pilot", "--out", str(folder)]) == 0
    pandas.testing.assert_frame_equal(results.load(folder), before)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--totals", "0"], "--totals must be a finite number above 0"),
        (["--lr", "nan"], "--lr must be a finite number above 0"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--seeds", "0"], "--seeds must be at least 1"),
    ],
)
def test_bad_input_of_the_study_is_one_sentence(tmp_path, flags, words, capsys):
    assert run.main(["total-decay", *flags, "--out", str(tmp_path / "no")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


# --- TensorBoard ---


def test_tensorboard_scalars_are_the_curves(tmp_path):
    """`--tensorboard` writes a folder for each run; read back, it holds the curves of paths.npz."""
    pytest.importorskip("tensorboard", reason="needs the package tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from gpu_bench import run

    flags = "--methods dense pilot --seeds 1 --epochs 2 --batch-size 359 --jobs 1 --sparsities 0.5"
    assert run.main([*flags.split(), "--tensorboard", "--out", str(tmp_path)]) == 0
    rows = results.load(tmp_path).drop_duplicates("key")
    paths = results.load_paths(tmp_path / "paths.npz")
    for _, row in rows.iterrows():
        folder = tmp_path / "tensorboard" / f"{row['method']}-seed0-{row['key'][:8]}"
        events = EventAccumulator(str(folder))
        events.Reload()
        tags = events.Tags()["scalars"]
        assert {"loss", "accuracy", "test_accuracy", "norm", "alpha", "total"} <= set(tags)
        for tag in tags:
            scalars = events.Scalars(tag)
            assert [scalar.step for scalar in scalars] == [1, 2]
            curve = paths[f"{row['key']}/{tag}"]
            np.testing.assert_allclose([scalar.value for scalar in scalars], curve, rtol=1e-6)
