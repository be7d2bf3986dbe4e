"""Choice of precision and layout: made once for a folder, by a margin, and a value of the runs."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_bench import fastest, job, models, run
from gpu_bench.fastest import Choice, choose, seconds_per_step
from gpu_bench.masks import flops, prunable
from gpu_bench.settings import OneShot
from mirrorflow import results
from mirrorflow.checks import InputError

ALL = [
    Choice(precision, layout)
    for precision in ("float32", "bfloat16")
    for layout in ("contiguous", "channels-last")
]
WORDS = ["--methods", "dense", "--seeds", "1", "--epochs", "1", "--batch-size", "359"]
WORDS += ["--model", "resnet8", "--jobs", "1", "--sparsities", "0.5"]


@pytest.fixture
def times(monkeypatch):
    """Seconds that a measurement finds; a test sets them."""
    found = {}
    monkeypatch.setattr(fastest, "seconds_per_step", lambda *_: found)
    return found


SPEC = {"model": "resnet8", "dataset": "digits", "batch_size": 16, "threads": 1}
SPEC["image_size"] = None


@settings(max_examples=50, deadline=None)
@given(seconds=st.lists(st.floats(0.8, 1.2), min_size=4, max_size=4))
def test_the_choice_is_the_fastest_or_the_plain_one(tmp_path_factory, seconds):
    """Another one than float32 in contiguous memory only where it saves a tenth."""
    folder = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastest, "seconds_per_step", lambda *_: dict(zip(ALL, seconds, strict=True)))
        found = choose(folder, SPEC, "auto", "auto")
    took = dict(zip(ALL, seconds, strict=True))
    if found == ALL[0]:
        assert min(seconds) > 0.9 * took[ALL[0]]
    else:
        assert took[found] == min(seconds) <= 0.9 * took[ALL[0]]


def test_noise_never_renames_a_run(tmp_path, times, monkeypatch):
    """What a command chose is what the next one in its folder computes with: all is found again."""
    monkeypatch.setattr("gpu_bench.report.figures", lambda *_: [])
    times.update(dict(zip(ALL, (4.0, 3.0, 2.0, 1.0), strict=True)))
    assert run.main([*WORDS, "--out", str(tmp_path)]) == 0
    (row,) = results.load(tmp_path).to_dict("records")
    assert (row["precision"], row["channels_last"]) == ("bfloat16", True)
    times.update(dict(zip(ALL, (1.0, 2.0, 3.0, 4.0), strict=True)))
    with monkeypatch.context() as patch:  # nothing is left to compute
        patch.setattr(job.Job, "__call__", lambda *_: pytest.fail("computed again"))
        assert run.main([*WORDS, "--out", str(tmp_path)]) == 0
    assert results.load(tmp_path)["key"].tolist() == [row["key"]]
    # a typed value is that value, whatever the folder says; and a choice is as good as a typed one
    typed = ["--precision", "bfloat16", "--layout", "channels-last"]
    settled = OneShot(methods=("dense",), seeds=1, out=tmp_path, epochs=1, batch_size=359)
    assert settled.settled().precision == "float32"  # of another model: measured anew
    assert run.main([*WORDS, *typed, "--out", str(tmp_path / "typed")]) == 0
    assert results.load(tmp_path / "typed")["key"].tolist() == [row["key"]]


def test_typed_values_are_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(fastest, "seconds_per_step", lambda *_: pytest.fail("measured"))
    setting = OneShot(precision="float64", layout="channels-last", out=tmp_path)
    assert setting.settled() is setting
    monkeypatch.setenv("WORLD_SIZE", "2")  # ranks might choose differently
    assert OneShot(out=tmp_path).settled().runs()[0].spec["precision"] == "float32"
    assert not list(tmp_path.iterdir())


def test_a_given_precision_is_kept(tmp_path, times):
    pair = [Choice("float64", layout) for layout in ("contiguous", "channels-last")]
    times.update(dict(zip(pair, (2.0, 1.0), strict=True)))
    assert choose(tmp_path, SPEC, "float64", "auto") == pair[1]


@pytest.mark.parametrize("content", ["{", "[]", '"a"', "wrong", "null"])
def test_a_damaged_file_is_refused(tmp_path, content, times):
    times.update(dict.fromkeys(ALL, 1.0))
    choose(tmp_path, SPEC, "auto", "auto")
    file = tmp_path / fastest.FILE
    if content == "wrong":
        known = json.loads(file.read_text())
        content = json.dumps({name: {"precision": "float8", "layout": 3} for name in known})
    file.write_text(content)
    with pytest.raises(InputError, match=f"{fastest.FILE} must"):
        choose(tmp_path, SPEC, "auto", "auto")


def test_every_choice_is_measured_and_threads_are_put_back():
    before = torch.get_num_threads()
    seconds = seconds_per_step("resnet8", (1, 8, 8), 16, 1, ALL)
    assert list(seconds) == ALL
    assert all(0.0 < value < float("inf") for value in seconds.values())
    assert torch.get_num_threads() == before


def test_the_stem_of_stride_2_costs_a_quarter_and_keeps_the_weights():
    plain, strided = (models.build(n, (3, 32, 32), 10, 0) for n in ("resnet20", "resnet20-s2"))
    shapes = [[w.shape for w in prunable(model).values()] for model in (plain, strided)]
    assert shapes[0] == shapes[1]
    assert sum(shape.numel() for shape in shapes[1]) == 270_896
    work = [flops(model, (3, 32, 32))["dense"] - 640 for model in (plain, strided)]
    assert work[0] == 4 * work[1]  # all but the classifier, at a quarter of the pixels
    assert sum(
        w.numel() for w in prunable(models.build("resnet8", (3, 32, 32), 10, 0)).values()
    ) == (9 * (3 * 16 + 2 * 16**2 + 16 * 32 + 32**2 + 32 * 64 + 64**2) + 16 * 32 + 32 * 64 + 640)
