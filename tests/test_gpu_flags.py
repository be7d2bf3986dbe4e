"""Flags of gpu_bench.run: what they belong to, which values they take, what the help says."""

from __future__ import annotations

import math
from typing import get_type_hints

import pytest

from gpu_bench import methods, run, sparsities
from gpu_bench.settings import OneShot, flags
from mirrorflow.checks import InputError

METHOD_OPTIONS = {flags.flag_of(option): names for option, names in flags.owners().items()}
METHOD_OPTIONS.pop("weight_decay")  # of biases and normalisation too, which all have
MASK = ("--mask-file", __file__)
OUT_OF_PLACE = {
    ("one-shot", "--kappa", "3"): "--kappa must be left out unless --methods has powerprop",
    ("one-shot", "--methods", "dense", "mask-l1", "--mask-l1", "0.1"): (
        "--mask-l1 must be left out unless --methods has continuous (the method mask-l1 has "
        "--weight-decay, --l1, --l1-total, --beta), but it is 0.1."
    ),
    ("one-shot", "--methods", "dense", "--no-controller"): "--controller must be left out unless",
    ("one-shot", "--methods", "dense", "--controller"): (
        "--controller must be left out unless --methods has pilot, but it is True."
    ),
    ("one-shot", "--init", "balanced", "--beta", "1"): "--beta must be left out unless --init is",
    ("one-shot", "--no-controller", "--swing", "2.11"): "--swing must be left out unless the contr",
    ("one-shot", "--methods", "lasso", "--l1", "1", "--l1-total", "1"): "--l1 and --l1-total excl",
    ("one-shot", "--delta", "1.01", "--swing", "2"): "--delta and --swing exclude each other",
    (
        "one-shot",
        "--image-size",
        "224",
    ): "--image-size must be left out unless --dataset is imagenet",
    ("one-shot", "--broken-images", "refuse"): "--broken-images must be left out unless --dataset",
    ("tune", "--workers", "2"): "--workers must be left out unless --dataset is imagenet",
    ("one-shot", "--data-root", "a\nb"): "--data-root must be left out unless --dataset is not dig",
    ("one-shot", "--download"): "--download must be left out unless --dataset is not digits",
    ("iterative", "--rewind-epoch", "0"): "--rewind-epoch must be left out unless --variant has wr",
    ("iterative", "--variant", "wr", "--carry", "parameters"): "--carry must be left out unless",
    ("cyclic", *MASK, "--mask", "erk"): "--mask must be left out unless --mask-file is left out",
    ("cyclic", *MASK, "--sparsities", "0.9"): "--sparsities must be left out unless --mask-file is",
    ("sculpt", *MASK, "--start-sparsity", "0.5"): "--start-sparsity must be left out unless --mask",
}


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


def default(flag):
    (option,) = (option for option in flags.owners() if flags.flag_of(option) == flag)
    return {name: methods.options(name)[option] for name in METHOD_OPTIONS[flag]}


@pytest.mark.parametrize("flag", METHOD_OPTIONS)
def test_options_belong_to_the_methods_that_have_them(flag):
    given = {flag: False if flag == "controller" else next(iter(default(flag).values())) or 1.5}
    for name in methods.METHODS:
        one = OneShot(methods=(name,), seeds=1, device="cpu", **given)
        if name in METHOD_OPTIONS[flag]:
            assert len(one.runs()) == 1
            continue
        with pytest.raises(InputError, match=f"^{flags.worded(flag)} must be left out unless .*"):
            one.runs()


@pytest.mark.parametrize("flag", sorted(METHOD_OPTIONS.keys() - {"init", "controller"}))
def test_the_options_of_methods_have_ranges_and_the_defaults_of_the_help(flag):
    for value in (math.nan, -1e300):
        with pytest.raises(InputError, match=f"^{flags.worded(flag)} must be a (finite )?number"):
            OneShot(methods=("all",), **{flag: value}).runs()
    hint = get_type_hints(OneShot, include_extras=True)[flag].__metadata__[0].help_behavior_hint
    words = hint.removeprefix("(default: ").removesuffix(")").replace("−", "-")
    found = default(flag)
    try:
        assert set(found.values()) == {float(words)}
    except ValueError:  # "from --total", or a number for each method
        for name, value in found.items():
            assert value is None or f"{value:g} of {name}" in words


def test_zero_is_given_too():
    with pytest.raises(InputError, match="--l1 and --l1-total exclude each other"):
        OneShot(methods=("lasso",), l1=0.0, l1_total=1.0).runs()


@pytest.mark.parametrize("flag", sorted(METHOD_OPTIONS.keys() - {"init", "controller"}))
def test_only_a_threshold_is_infinite(flag):
    """K = inf lets the controller never raise alpha."""
    one = OneShot(methods=METHOD_OPTIONS[flag], seeds=1, device="cpu", **{flag: math.inf})
    if flag == "threshold":
        assert one.runs()
        return
    with pytest.raises(InputError, match=f"^{flags.worded(flag)} must be a finite number"):
        one.runs()


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, math.nan])
def test_a_sparsity_of_1_leaves_nothing(sparsity):
    with pytest.raises(InputError, match=r"--sparsities must lie in \[0, 1\), but one is"):
        sparsities.check_sparsities("--sparsities", (0.5, sparsity))
