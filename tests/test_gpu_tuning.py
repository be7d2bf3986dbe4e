"""python -m gpu_bench.run tune: the same budget for all, on images that are no test images."""

from __future__ import annotations

import dataclasses
import json

import pandas
import pytest
import torch

from gpu_bench import data, methods, report, run, tuning
from gpu_bench.methods import spred
from gpu_bench.protocols import one_shot
from gpu_bench.run import PROGRAM
from gpu_bench.settings import OneShot
from mirrorflow import results
from mirrorflow.checks import InputError
from mirrorflow.pilot import largest_total

QUICK = ["--epochs", "1", "--batch-size", "359", "--jobs", "1"]
QUICK += ["--precision", "float32", "--layout", "contiguous"]  # else each folder is measured
NAMES = tuple(methods.METHODS)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def setting(name, **flags):
    return PROGRAM.study(name)(**flags)


# --- what is tried ---


@pytest.mark.parametrize("name", NAMES)
def test_a_grid_begins_with_the_defaults_and_names_options(name):
    """The first setting of a method is what runs without tuning."""
    method = methods.METHODS[name]
    (first, *_), grid = method.grid, method.grid
    assert first["lr"] == method.learning_rate
    options = {"weight_decay": OneShot.weight_decay, **method.options()}
    if method.decayed:  # None: 3, or what the steps allow
        options["total"] = 3.0
    if "total" in options and options["total"] is None:
        options["total"] = spred.TOTAL  # where the steps allow it
    assert {flag: options[flag] for flag in first if flag != "lr"} == {
        flag: value for flag, value in first.items() if flag != "lr"
    }
    assert all(one.keys() == first.keys() for one in grid)
    assert len({tuple(one.values()) for one in grid}) == len(grid) == 9


def test_every_method_has_the_same_budget():
    runs = setting("tune", methods=("all",), budget=5, seeds=2).runs()
    counts = pandas.Series([one.spec["method"] for one in runs]).value_counts()
    assert dict(counts) == dict.fromkeys(NAMES, 5 * 2)
    assert len({one.key for one in runs}) == len(runs)
    assert {one.spec["validation"] for one in runs} == {0.1}
    tried = [
        {"lr": one.spec["lr"], "total": one.spec["spred.total"]}
        for one in runs
        if one.spec["method"] == "spred" and one.spec["seed"] == 0
    ]
    assert tried == list(methods.METHODS["spred"].grid[:5])


def test_totals_that_the_steps_lower_to_the_same_are_tried_once():
    """Where decay can act no faster than 1.2, totals of 3, 6 and 1.5 are one: the next rates."""
    few = {"epochs": 9, "batch_size": 128, "methods": ("pilot",)}
    runs = setting("tune", budget=3, **few).runs()
    rates = setting("tune", **few, budget=3).rates()
    tried = [(one.spec["lr"], one.spec["pilot.total"]) for one in runs]
    assert largest_total(rates, 0.9) < 1.5
    assert tried == [(0.2, 3.0), (0.1, 3.0), (0.4, 3.0)]
    with pytest.raises(InputError, match="--budget must be at most 3, since pilot has no more"):
        setting("tune", budget=4, **few).runs()
    longer = setting("tune", **{**few, "epochs": 15}, budget=4)
    assert 1.5 < largest_total(longer.rates(), 0.9) < 3.0
    tried = [(one.spec["lr"], one.spec["pilot.total"]) for one in longer.runs()]
    assert tried == [(0.2, 3.0), (0.1, 3.0), (0.2, 1.5), (0.4, 3.0)]


# --- what is chosen ---


def made(accuracies, name="spred", seeds=1):
    """Rows of a method: accuracies[setting][sparsity], the same for every seed."""
    rows, kind = [], methods.METHODS[name]
    for i, reached in enumerate(accuracies):
        for seed in range(seeds):
            for sparsity, accuracy in zip((0.8, 0.95), reached, strict=True):
                rows.append(
                    {
                        "key": f"{name}{i}{seed}",
                        "method": name,
                        "seed": seed,
                        "dataset": "digits",
                        "model": "resnet20",
                        "epochs": 3,
                        "batch_size": 128,
                        "validation": 0.1,
                        "validation_seed": 0,
                        "sparsity": sparsity,
                        "accuracy": accuracy,
                        **{kind.column(o): v for o, v in kind.grid[i].items()},
                    }
                )
    return pandas.DataFrame(rows)


def test_the_best_mean_over_sparsities_is_chosen():
    chosen = tuning.choose(made([(0.9, 0.2), (0.7, 0.6), (0.6, 0.6)]))
    entry = chosen["methods"]["spred"]
    assert entry["setting"] == methods.METHODS["spred"].grid[1]
    assert entry["accuracy"] == pytest.approx(0.65)
    assert (entry["tried"], entry["diverged"]) == (3, 0)
    assert chosen["sparsities"] == [0.8, 0.95]
    assert (chosen["dataset"], chosen["epochs"], chosen["seeds"]) == ("digits", 3, 1)


def test_the_likeliest_wins_a_tie():
    chosen = tuning.choose(made([(0.5, 0.5), (0.6, 0.4), (0.5, 0.5)]))
    assert chosen["methods"]["spred"]["setting"] == methods.METHODS["spred"].grid[0]


def test_a_setting_that_diverges_for_one_seed_is_out():
    rows = made([(0.9, 0.9), (0.5, 0.5)], seeds=2)
    rows.loc[rows["key"] == "spred01", "accuracy"] = float("nan")
    entry = tuning.choose(rows)["methods"]["spred"]
    assert entry["setting"] == methods.METHODS["spred"].grid[1]
    assert entry["diverged"] == 1


def test_a_method_that_always_diverges_is_named():
    rows = pandas.concat([made([(0.9, 0.9)]), made([(0.5, 0.5)] * 2, "str").assign(accuracy=None)])
    with pytest.raises(InputError, match="all 2 of str diverged"):
        tuning.choose(rows.astype({"accuracy": float}).reset_index(drop=True))


# --- end to end, on digits ---


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    flags = ["--methods", "dense", "spred", "--budget", "2", "--out", str(folder)]
    assert run.main(["tune", *QUICK, *flags]) == 0
    return folder


def test_tune_keeps_all_rows_and_writes_the_best(tuned):
    frame = results.load(tuned)
    assert frame["key"].nunique() == 2 * 2
    assert sorted(frame["sparsity"].unique()) == [0.8, 0.9, 0.95, 0.98]
    written = json.loads((tuned / "tuned.json").read_text())
    assert written == tuning.choose(frame)
    for name, entry in written["methods"].items():
        own = frame[frame["method"] == name].groupby("key")["accuracy"].mean()
        assert entry["accuracy"] == pytest.approx(own.max(), abs=1e-12)
    # whole numbers of the 144 images held out
    images = frame["accuracy"] * 144
    assert (images - images.round()).abs().max() < 1e-9


def test_test_images_are_never_read(tuned, tmp_path, monkeypatch):
    """Other test images, all black and of one class, change not a bit of what is tried."""
    original = data.load

    def blank(*given, **options):
        found = original(*given, **options)
        return dataclasses.replace(
            found,
            test_images=torch.zeros_like(found.test_images),
            test_labels=torch.zeros_like(found.test_labels),
        )

    monkeypatch.setattr(data, "load", blank)
    flags = ["--methods", "dense", "spred", "--budget", "2", "--out", str(tmp_path)]
    assert run.main(["tune", *QUICK, *flags]) == 0
    assert (tmp_path / "tuned.json").read_bytes() == (tuned / "tuned.json").read_bytes()
    columns = ["key", "sparsity", "accuracy", "last_accuracy", "train_loss"]
    pandas.testing.assert_frame_equal(
        results.load(tmp_path)[columns], results.load(tuned)[columns], check_exact=True
    )


def test_the_tuned_settings_are_used(tmp_path, monkeypatch):
    file = tmp_path / "tuned.json"
    wanted = {"spred": {"lr": 0.4, "total": 0.3}, "dense": {"lr": 0.05, "weight_decay": 1e-3}}
    content = {"dataset": "digits", "model": "resnet20"}
    content["methods"] = {name: {"setting": one} for name, one in wanted.items()}
    tuning.write(file, content)
    specs = {}
    monkeypatch.setattr(report, "figures", lambda *_: [])
    original = one_shot.PROTOCOL.compute

    def seen(one, *rest):
        specs[one.spec["method"]] = one.spec
        return original(one, *rest)

    monkeypatch.setattr(one_shot.PROTOCOL, "compute", seen)
    flags = ["--methods", "dense", "spred", "--seeds", "1", "--sparsities", "0.9"]
    out = ["--out", str(tmp_path / "runs")]
    assert run.main(["one-shot", *QUICK, *flags, *out, "--tuned", str(file)]) == 0
    for name, one in wanted.items():
        column = methods.METHODS[name].column
        assert {option: specs[name][column(option)] for option in one} == one
    # what of dense is weight decay is, of spred, that of its biases: the flag's
    assert specs["spred"]["weight_decay"] == 1e-4
    rows = results.load(tmp_path / "runs").set_index("method")
    assert rows.loc["spred", "total_free"] == pytest.approx(0.3)


def test_the_table_marks_one_best_setting(tuned, capsys):
    report.print_table(report.screen(), results.load(tuned))
    printed = capsys.readouterr().out
    assert printed.count("*") == 1 + 2  # the heading explains it
    assert "lr 0.1, total 3" in printed
    assert "10 % of the training images" in printed


def test_a_comparison_of_protocols_takes_no_tuning(tuned, capsys):
    assert run.main(["report", str(tuned)]) == 2
    assert "is of tune" in capsys.readouterr().err


# --- bad input ---

OUT = "must be left out unless the protocol is one-shot"
TUNE = {
    ("--validation", "0"): "--validation must lie in (0, 1) to tune, but it is 0",
    ("--budget", "0"): "--budget must be at least 1 and at most 9",
    ("--budget", "10"): "--budget must be at least 1 and at most 9",
    ("--lr", "0.1"): f"--lr {OUT}, but it is 0.1",
    ("--pilot.total", "2"): f"--pilot.total {OUT}",
    ("--weight-decay", "1e-4"): f"--weight-decay {OUT}, but it is 0.0001",
    ("--methods", "str", "--str.total", "9"): f"--str.total {OUT}",
    ("--methods", "str", "--str.total", "3"): f"--str.total {OUT}",
    ("--methods", "all", "--continuous.total", "9"): f"--continuous.total {OUT}",
    ("--weight-decay", "0.5"): f"--weight-decay {OUT}, but it is 0.5",
    ("--tuned", "somewhere.json"): "--tuned must be left out of tune",
    ("--methods", "magic"): "--methods must be among continuous, dense",
}


@pytest.mark.parametrize("flags", TUNE, ids=" ".join)
def test_bad_input_of_tune_is_one_sentence(tmp_path, flags, capsys):
    assert run.main(["tune", *QUICK, "--out", str(tmp_path / "new"), *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert TUNE[flags] in error
    assert error.count("\n") == 1


GOOD = {"dataset": "digits", "model": "resnet20", "methods": {}}
FILES = {
    "no json": ("{", "must be the tuned.json of tune"),
    "a list": ([1], "must be the tuned.json of tune"),
    "no methods": ({"dataset": "digits"}, "must be the tuned.json of tune"),
    "other data": ({**GOOD, "dataset": "cifar10"}, "must be of digits and resnet20, but"),
    "other model": ({**GOOD, "model": "resnet18"}, "is of 'digits' and 'resnet18'"),
    "no such method": ({**GOOD, "methods": {"magic": {"setting": {}}}}, "of 'magic'"),
    "other flags": (
        {**GOOD, "methods": {"dense": {"setting": {"lr": 0.1, "kappa": 2}}}},
        "has ['kappa', 'lr'] of 'dense'",
    ),
    "negative": (
        {**GOOD, "methods": {"dense": {"setting": {"lr": -1, "weight_decay": 0}}}},
        "lr of dense in",
    ),
    "text": (
        {**GOOD, "methods": {"dense": {"setting": {"lr": 0.1, "weight_decay": "much"}}}},
        "weight_decay of dense in",
    ),
    "none of it": (GOOD, "must have a setting of every method, but"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_tune_did_not_write_is_refused(tmp_path, case, capsys):
    content, words = FILES[case]
    file = tmp_path / "tuned.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    flags = ["--methods", "dense", "--tuned", str(file), "--out", str(tmp_path / "new")]
    assert run.main(["one-shot", *QUICK, *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_missing_or_huge_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="--tuned must be a file, but"):
        tuning.read(tmp_path / "none.json", "digits", "resnet20")
    huge = tmp_path / "huge.json"
    with huge.open("wb") as stream:
        stream.truncate(tuning.LARGEST + 1)
    with pytest.raises(InputError, match="more than"):
        tuning.read(huge, "digits", "resnet20")


@pytest.mark.parametrize(
    ("method", "flag", "value"),
    [("pilot", "--lr", "0.1"), ("str", "--str.total", "9.0"), ("dense", "--weight-decay", "0.5")],
)
def test_tuned_settings_and_flags_exclude_each_other(tmp_path, method, flag, value, capsys):
    flags = ["--tuned", "any.json", "--methods", method, flag, value]
    assert run.main(["one-shot", *QUICK, *flags, "--out", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert f"{flag} must be left out unless --tuned is left out, but it is {value}" in error


def test_what_no_chosen_method_is_tuned_by_stays_a_flag():
    """The weight decay of spred is that of its biases, which tune does not try."""
    (one, *_) = setting("tune", methods=("spred",), weight_decay=0.5).runs()
    assert one.spec["weight_decay"] == 0.5


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 50_000,
        json.dumps({"dataset": "d" * 50_000, "model": "resnet20", "methods": {}}).encode(),
        json.dumps({**GOOD, "methods": {"m" * 50_000: {"setting": {}}}}).encode(),
        json.dumps({**GOOD, "methods": {"dense": {"setting": {"f" * 50_000: 1}}}}).encode(),
    ],
    ids=["bytes", "data set", "method", "flag"],
)
def test_a_refusal_is_short_whatever_the_file_holds(tmp_path, content):
    file = tmp_path / "tuned.json"
    file.write_bytes(content)
    with pytest.raises(InputError) as refused:
        tuning.read(file, "digits", "resnet20")
    assert len(str(refused.value)) < 300 + len(str(file))
