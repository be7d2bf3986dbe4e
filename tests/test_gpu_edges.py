"""Open edges: models of others, masks of torch's pruning, patterns N:M."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from gpu_bench import exports, masks, models, run
from gpu_bench.patterns import numbers, pattern
from mirrorflow.checks import InputError

OWN = """
from torch import nn

def good(shape, classes):
    return nn.Sequential(nn.Conv2d(shape[0], 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes))

def net(shape, classes):
    return nn.Sequential(
        nn.Conv2d(shape[0], 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )

def nothing(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.ReLU())

def wide(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], 2 * classes))

def deaf(shape, classes):
    return nn.Linear(7, classes)

def number(shape, classes):
    return 3

def broken(shape, classes):
    raise KeyError("no such thing")

def frozen(shape, classes):
    return net(shape, classes).requires_grad_(False)

def leaves(shape, classes):
    raise SystemExit(3)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's, `own_models`, where Python finds it."""
    (tmp_path / "own_models.py").write_text(OWN)
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text("raise RuntimeError('not today')")
    (tmp_path / "own_package" / "nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_models", raising=False)
    return tmp_path / "own_models.py"


def test_an_own_model_is_seeded_and_leaves_the_global_state(own):
    before = torch.get_rng_state()
    one, same, other = (models.build("own_models:net", (1, 8, 8), 10, s) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.training
    states = [list(model.state_dict().values()) for model in (one, same, other)]
    assert all(map(torch.equal, states[0], states[1]))
    assert not all(map(torch.equal, states[0], states[2]))


def test_the_source_follows_the_file(own):
    """It is part of a run's name: another code is another run."""
    first = models.source("own_models:net")
    assert models.source("resnet20") is None
    own.write_text(OWN + "\n")
    assert models.source("own_models:net") != first


REFUSED = {
    "own_models:nothing": "has none",
    "own_models:wide": r"gives \(2, 20\)",
    "own_models:deaf": "must fit the model",
    "own_models:number": "gives a int",
    "own_models:broken": "KeyError",
    "own_models:frozen": "0.weight of 'own_models:frozen' is frozen",
    "own_models:leaves": "SystemExit: 3",
    "own_package.nets:net": "'own_package.nets' can't",
    "own_models:absent": "AttributeError",
    "no_such_module:net": "'no_such_module' can't",
    "no_such.module:net": "can't",
    "own_models:": "MODULE:FUNCTION",
    ":net": "MODULE:FUNCTION",
    "resnet21": "did you mean|must be one of",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_network_to_prune_is_refused(own, name):
    with pytest.raises(InputError, match=REFUSED[name]) as refusal:
        models.build(name, (1, 8, 8), 10, 0)
    assert "\n" not in str(refusal.value)


COMMANDS = ["own_models:nothing", "own_models:number", "timm:resnet18", "torchvision:resnet18"]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_ends_with_2_and_one_sentence(own, name, tmp_path, monkeypatch, capsys):
    for package in models.PACKAGES:
        monkeypatch.setitem(sys.modules, package, None)
    flags = ["--methods", "dense", "--seeds", "1", "--epochs", "1", "--jobs", "1", "--model", name]
    flags += ["--precision", "float32", "--layout", "contiguous", "--out", str(tmp_path / "out")]
    assert run.main(flags) == 2
    error = capsys.readouterr().err
    assert [line[:7] for line in error.splitlines()] == ["error: "]
    assert name in error or "has none" in error


@pytest.mark.parametrize("package", models.PACKAGES)
def test_a_missing_package_is_named_with_what_installs_it(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"pip install {package}"):
        models.source(f"{package}:resnet18")


def test_models_of_packages_have_the_classes_and_channels_of_the_data(monkeypatch):
    """With stand-ins: what is asked of torchvision and timm."""
    asked = []

    def net(channels, classes):
        layers = nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        return nn.Sequential(*layers, nn.Linear(4, classes))

    def get_model(name, weights, num_classes):
        asked.append((name, weights))
        return net(3, num_classes)

    def create_model(name, num_classes, in_chans):
        asked.append((name, None))
        return net(in_chans, num_classes)

    places = {
        "torchvision.models": types.SimpleNamespace(get_model=get_model),
        "timm": types.SimpleNamespace(create_model=create_model),
    }
    monkeypatch.setattr(models, "source", lambda name: "1.0")
    monkeypatch.setattr(models.importlib, "import_module", places.__getitem__)
    models.build("torchvision:resnet18", (3, 16, 16), 7, 0)
    models.build("timm:vit", (1, 16, 16), 7, 0)
    assert asked == [("resnet18", None), ("vit", None)]
    with pytest.raises(InputError, match="must fit"):  # torchvision's take three channels
        models.build("torchvision:resnet18", (1, 16, 16), 7, 0)


def test_torchvision_itself():
    pytest.importorskip("torchvision", reason="needs torchvision")
    model = models.build("torchvision:resnet18", (3, 32, 32), 10, 0)
    assert len(masks.prunable(model)) == 21


# --- masks of torch.nn.utils.prune ---


def test_masks_go_to_torchs_pruning_and_back():
    model = models.build("resnet8", (1, 8, 8), 10, 0)
    weights = {name: weight.detach().clone() for name, weight in masks.prunable(model).items()}
    kept = masks.magnitude(weights, 0.8)
    exports.to_prune(model, kept)
    again = exports.from_prune(model)
    assert again.keys() == kept.keys()
    assert all(torch.equal(again[name], kept[name]) for name in kept)
    for name in kept:
        prune.remove(model.get_submodule(name.rpartition(".")[0]), "weight")
    for name, weight in masks.prunable(model).items():
        assert torch.equal(weight, weights[name] * kept[name])
    with pytest.raises(InputError, match="no mask"):
        exports.from_prune(model)


def test_global_pruning_of_torch_is_the_cut_here():
    """Without ties both cut the same weights; the names are ours."""
    model = models.build("resnet8", (1, 8, 8), 10, 0)
    weights = masks.prunable(model)
    ours = masks.magnitude(weights, 0.75)
    places = [(model.get_submodule(name.rpartition(".")[0]), "weight") for name in weights]
    prune.global_unstructured(places, prune.L1Unstructured, amount=0.75)
    theirs = exports.from_prune(model)
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_a_mask_of_another_model_changes_nothing():
    model = models.build("resnet8", (1, 8, 8), 10, 0)
    with pytest.raises(InputError):
        exports.to_prune(model, {"conv1.weight": torch.ones(1, dtype=torch.bool)})
    with pytest.raises(InputError):
        exports.from_prune(model)


def test_masks_go_to_where_the_weights_are():
    """Those of a file are on the host, a network may be on a GPU; here it is nowhere."""
    model = models.build("resnet8", (1, 8, 8), 10, 0)
    kept = masks.magnitude(masks.prunable(model), 0.5)
    again = exports.from_prune(exports.to_prune(model.to("meta"), kept))
    assert {mask.device.type for mask in again.values()} == {"meta"}


@pytest.mark.parametrize("model", [None, {}, prune.l1_unstructured(nn.Linear(4, 3), "weight", 1)])
def test_what_can_not_be_pruned_is_told(model):
    with pytest.raises(InputError, match=r"^model must (be a torch.nn.Module|hold plain weights)"):
        exports.to_prune(model, {"weight": torch.ones(3, 4, dtype=torch.bool)})
    if not isinstance(model, nn.Module):
        with pytest.raises(InputError, match=r"^model must be a torch.nn.Module"):
            exports.from_prune(model)


# --- patterns ---


@settings(max_examples=50, deadline=None)
@given(kept=st.integers(1, 5), more=st.integers(1, 4), groups=st.integers(1, 3), data=st.data())
def test_a_pattern_keeps_the_largest_of_every_group(kept, more, groups, data):
    group = kept + more
    shape = (2, groups * group, *data.draw(st.sampled_from([(), (1, 3), (2, 2)])))
    # few values: there are ties
    seed = data.draw(st.integers(0, 99))
    weight = torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).float()
    mask = pattern({"w": weight}, kept, group)["w"]
    assert mask.shape == weight.shape
    size = weight.abs().movedim(1, -1).reshape(-1, group)
    rows = mask.movedim(1, -1).reshape(-1, group)
    assert bool((rows.sum(1) == kept).all())
    for values, chosen in zip(size.tolist(), rows.tolist(), strict=True):
        first = sorted(range(group), key=lambda i: (-values[i], i))[:kept]
        assert [i for i, one in enumerate(chosen) if one] == sorted(first)


def test_a_layer_that_has_no_such_groups_stays():
    weights = {"stem": torch.zeros(4, 3, 3, 3), "depthwise": torch.zeros(8, 1, 3, 3)}
    weights["norm"] = torch.zeros(4)
    assert all(bool(mask.all()) for mask in pattern(weights, 2, 4).values())


@pytest.mark.parametrize(
    "text", ["", "2", "4:2", "4:4", "0:4", "2:65", "2:4:8", "-1:4", "a:b", "٢:٤"]
)
def test_a_pattern_is_n_of_m(text):
    assert numbers("2:4") == (2, 4)
    with pytest.raises(InputError, match="--pattern must be N:M"):
        numbers(text)


def test_a_pattern_that_fits_no_layer_is_refused_before_training(tmp_path, capsys):
    """7 divides neither the one channel of digits nor 16, 32, 64."""
    flags = ["--methods", "dense", "--model", "resnet8", "--seeds", "1", "--epochs", "1"]
    flags += ["--pattern", "2:7", "--jobs", "1", "--precision", "float32", "--layout", "contiguous"]
    assert run.main([*flags, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith("divides the inputs of a layer (1, 16, 32, 64), but it is 2:7.")
    assert not list(tmp_path.glob("checkpoints/*/*"))
