"""Flags of gpu_bench.run: what they belong to, which values they take, what the help says."""

from __future__ import annotations

import math

import pytest
import torch

from gpu_bench import methods, run, sparsities
from gpu_bench.experiment import Experiment, Place
from gpu_bench.ranks import Ranks
from gpu_bench.settings import Cyclic, Iterative, OneShot, Sculpt
from mirrorflow.checks import InputError

MASK = ("--mask-file", __file__)
KAPPA = "--powerprop.kappa"
OUT_OF_PLACE = {
    ("one-shot", KAPPA, "3"): f"{KAPPA} must be left out unless --methods has powerprop",
    ("one-shot", KAPPA, "2"): f"{KAPPA} must be left out unless --methods has powerprop",
    ("one-shot", "--methods", "dense", "--pilot.swing", "1"): "--pilot.swing must be left out",
    ("one-shot", "--methods", "lasso", "--mask-l1.beta", "2"): (
        "--mask-l1.beta must be left out unless --methods has mask-l1, but it is 2.0."
    ),
    (
        "one-shot",
        "--image-size",
        "224",
    ): "--image-size must be left out unless --dataset is imagenet",
    ("tune", "--workers", "2"): "--workers must be left out unless --dataset is imagenet",
    ("one-shot", "--data-root", "a\nb"): "--data-root must be left out unless --dataset is not dig",
    ("one-shot", "--download"): "--download must be left out unless --dataset is not digits",
    ("one-shot", "--model", "json:loads", "--classifier", "fan-in"): (
        "--classifier must be left out unless --model is none of others, which keeps its own"
    ),
    ("iterative", "--rewind-epoch", "0"): "--rewind-epoch must be left out unless --variant has wr",
    ("iterative", "--variant", "wr", "--carry", "parameters"): "--carry must be left out unless",
    ("cyclic", *MASK, "--mask", "erk"): "--mask must be left out unless --mask-file is left out",
    ("cyclic", *MASK, "--sparsities", "0.9"): "--sparsities must be left out unless --mask-file is",
    ("sculpt", *MASK, "--start-sparsity", "0.5"): "--start-sparsity must be left out unless --mask",
}
OTHERS = {("spred", "init"): "independent", ("str", "shared"): True, ("continuous", "plain"): True}
OTHERS |= dict.fromkeys((("pilot", "swing"), ("powerprop", "kappa")), 1.5)
OPTIONS = [(name, option) for name, kind in methods.METHODS.items() for option in kind.options()]
NUMBERS = [
    (name, option)
    for name, option in OPTIONS
    if isinstance(methods.METHODS[name].options()[option], float)
]


@pytest.mark.parametrize("words", OUT_OF_PLACE, ids=" ".join)
def test_a_flag_without_effect_is_refused(tmp_path, words, capsys):
    """Also with the value that it has where it is left out."""
    protocol, *given = words
    assert run.main([protocol, *given, "--out", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert OUT_OF_PLACE[words] in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def setting(name, option, value, chosen):
    kind = methods.METHODS[name]
    own = methods.option_groups()(**{name.replace("-", "_"): kind(**{option: value})})
    return OneShot(methods=chosen, seeds=1, device="cpu", options=own)


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_an_option_belongs_to_its_method_alone(name, option):
    """It is in the configuration of no other method's run, and refused where only others run."""
    default = methods.METHODS[name].options()[option]
    value = OTHERS.get((name, option)) or (default / 2 if default else 0.5)
    chosen = tuple(methods.METHODS)
    changed, plain = (setting(name, option, v, chosen).runs() for v in (value, default))
    for one, other in zip(changed, plain, strict=True):
        assert (one.key == other.key) == (one.spec["method"] != name)
        own = {key for key in one.spec if "." in key}
        assert all(key.startswith(f"{one.spec['method']}.") for key in own)
    others = tuple(other for other in chosen if other != name)
    with pytest.raises(InputError, match=rf"^--{name}\.{option} must be left out unless .*"):
        setting(name, option, value, others).runs()


@pytest.mark.parametrize(("name", "option"), NUMBERS)
def test_the_options_of_methods_have_ranges(name, option):
    for value in (math.nan, -1e300):
        with pytest.raises(InputError, match=rf"^--{name}\.{option} must be a (finite )?number"):
            setting(name, option, value, ("all",)).runs()


@pytest.mark.parametrize(("name", "option"), NUMBERS)
def test_only_a_threshold_is_infinite(name, option):
    """K = inf lets the controller never raise alpha."""
    one = setting(name, option, math.inf, (name,))
    if option == "threshold":
        assert one.runs()
        return
    with pytest.raises(InputError, match=rf"^--{name}\.{option} must be a finite number"):
        one.runs()


def specs(**flags):
    runs = OneShot(methods=("all",), seeds=1, device="cpu", **flags).runs()
    return {one.spec["method"]: one.spec for one in runs}


def test_the_original_recipe_is_each_methods_own():
    paper, original = specs(), specs(recipe="original")
    for name, kind in methods.METHODS.items():
        changed = {key: value for key, value in original[name].items() if paper[name][key] != value}
        own = {kind.column(option): value for option, value in kind.original.items()}
        assert changed == {**own, "classifier": "fan-in"}
    assert original["str"]["weight_decay"] == 5e-4
    assert original["str"]["str.start"] == -100.0


def test_a_flag_goes_before_the_original_recipe():
    own = methods.option_groups()(str=methods.METHODS["str"](start=-50.0))
    found = specs(recipe="original", weight_decay=1e-3, options=own)
    assert found["str"]["str.start"] == -50.0
    assert found["str"]["str.shared"] is True
    assert {spec["weight_decay"] for spec in found.values()} == {1e-3}


def test_the_classifier_of_a_network_is_what_its_run_says(tmp_path):
    found = []
    for flags in ({}, {"classifier": "fan-in"}, {"recipe": "original"}):
        setting = OneShot(methods=("dense",), seeds=1, model="resnet8", device="cpu", **flags)
        experiment = Experiment(setting.runs()[0].spec, Place(tmp_path), Ranks())
        found.append(experiment.model.fc.weight.detach())
    assert torch.equal(found[1], found[2])
    torch.testing.assert_close(found[1], (10 / 64) ** 0.5 * found[0])


@pytest.mark.parametrize(("kind", "trainings"), [(Iterative, 5), (Cyclic, 3), (Sculpt, 4)])
def test_a_divided_budget_costs_what_one_training_costs(kind, trainings):
    """All of its epochs, to less than one a cycle, and a warm-up in proportion."""
    for epochs in (trainings, 30, 31):
        plain, divided = (kind(seeds=1, epochs=epochs, divide=d).runs()[0].spec for d in (0, 1))
        assert divided["cycles"] == trainings
        assert 0 <= epochs - divided["epochs"] * trainings < trainings
        assert divided["warmup"] == pytest.approx(divided["epochs"] / 30)
        assert plain["epochs"] == epochs
    with pytest.raises(InputError, match="--epochs must be at least the number of cycles"):
        kind(epochs=trainings - 1, divide=True).runs()


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, math.nan])
def test_a_sparsity_of_1_leaves_nothing(sparsity):
    with pytest.raises(InputError, match=r"--sparsities must lie in \[0, 1\), but one is"):
        sparsities.check_sparsities("--sparsities", (0.5, sparsity))
