"""python -m gpu_bench.run target: the strength of each method that gives the wanted sparsity."""

from __future__ import annotations

import dataclasses
import io
import math
import shlex

import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from gpu_bench import methods, report, run
from gpu_bench.methods.base import Method, around
from gpu_bench.protocols import one_shot
from gpu_bench.run import PROGRAM
from gpu_bench.search import best, close, following, tried
from gpu_bench.sparsities import free
from mirrorflow import results
from mirrorflow.pilot import largest_total
from mirrorflow.runs.stopping import Stopped

QUICK = ["--epochs", "1", "--batch-size", "359", "--jobs", "1"]
QUICK += ["--precision", "float32", "--layout", "contiguous"]  # else each folder is measured


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# --- which strength is next ---


def searched(sparsity, target, first, budget=40):
    """The strengths tried, in order, and their sparsities."""
    tried = {}
    while len(tried) < budget and (value := following(tried, target, first)) not in (None, *tried):
        tried[value] = sparsity(value)
    return tried


@settings(deadline=None)
@given(
    st.floats(-3.0, 3.0), st.floats(0.5, 3.0), st.floats(0.05, 0.99), st.sampled_from([1e-4, 1.0])
)
def test_the_search_ends_at_the_target_where_zeros_rise_with_the_strength(at, steep, target, first):
    """Over six decades, for gentle and for steep methods: in no more than 12 runs."""

    def sparsity(value):
        return 1.0 - 1.0 / (1.0 + (value / (first * 10.0**at)) ** steep)

    tried = searched(sparsity, target, first)
    *_, last = tried.values()
    assert close(last, target)
    assert abs(last - target) < 0.11 * min(target, 1.0 - target)
    assert len(tried) <= 12


@given(st.floats(-2.0, 2.0), st.sampled_from([0.0, 0.5]), st.sampled_from([1.0, math.nan]))
def test_a_jump_over_the_target_is_closed_in_on(at, below, above):
    """From both sides to two per cent, a run that diverges being too strong."""
    edge = 10.0**at
    tried = searched(lambda value: above if value > edge else below, 0.9, 1.0)
    low = max(value for value in tried if value <= edge)
    high = min(value for value in tried if value > edge)
    assert high <= 1.02 * low


def test_close_is_within_a_tenth_of_the_zeros_and_of_the_rest():
    for target, low, high in ((0.9, 0.89, 0.91), (0.5, 0.45, 0.55), (0.2, 0.18, 0.22)):
        assert close(low, target)
        assert close(high, target)
        assert not close(low - 1e-6, target)
        assert not close(high + 1e-6, target)
    assert not close(math.nan, 0.9)


@pytest.mark.parametrize(
    ("tried", "value"),
    [
        ({}, 0.5),
        ({0.5: 0.0}, 2.0),  # four times the strongest, a quarter of the weakest
        ({0.5: 0.0, 2.0: 0.8}, 8.0),
        ({0.5: 1.0}, 0.125),
        ({0.5: math.nan, 0.125: 0.95}, 0.0312),  # to three digits, as it is printed
        ({1.0: 0.88, 4.0: math.nan}, 4**0.1),  # no nearer to either than a tenth
        ({1.0: 0.0, 4.0: 0.915}, 4**0.9),
        ({1.0: 0.0, 4.0: math.nan}, 2.0),  # what is far off counts as e² times the share kept
        ({1.0: 0.0, 4.0: 0.95}, 4 ** (2 / (2 + math.log(2)))),
        ({1.0: 0.8, 4.0: 0.95}, 2.0),
        ({1.0: 0.8, 2.0: 0.95, 3.0: 0.85, 8.0: 1.0}, 2**0.5),  # the first that is too strong
        ({1.0: 0.8, 2.0: 0.905}, None),
        ({1.0: 0.8, 1.02: 0.95}, None),
        ({1.0: 0.8, 1.03: 0.95}, 1.03**0.5),
    ],
)
def test_the_next_strength(tried, value):
    found = following(tried, 0.9, 0.5)
    assert found == (None if value is None else float(f"{value:.3g}"))


def row_of(value, zeros, accuracy=0.9, name="str", level=0.9, **more):
    row = {"method": name, "status": "completed", "target": 0.9, "sparsity": level, "seed": 0}
    kind = methods.METHODS[name]
    row |= {kind.column(option): default for option, default in kind.options().items()}
    row |= {"accuracy": accuracy, "uncut_accuracy": accuracy + 0.05, kind.column("total"): value}
    return {**row, "natural_sparsity": zeros, "free_sparsity": zeros, **more}


def test_a_strength_is_its_mean_over_seeds_read_at_the_level_of_the_target():
    """One seed that diverges makes it too strong; other levels do not count."""
    rows = [row_of(1.0, 0.6, 0.7), row_of(1.0, 0.8, 0.8, seed=1), row_of(1.0, 0.6, 0.1, level=0.95)]
    rows += [row_of(2.0, 0.9), row_of(2.0, 0.9, seed=1, status="diverged")]
    table = tried(pandas.DataFrame(rows)).set_index("value")
    assert table.loc[1.0, ["sparsity", "accuracy", "uncut"]].tolist() == pytest.approx(
        [0.7, 0.75, 0.8]
    )
    assert table.loc[1.0, "flag"] == "--str.total"
    assert math.isnan(table.loc[2.0, "sparsity"])
    assert table.loc[1.0, "away"] == pytest.approx(math.log(0.1 / 0.3))
    found = best(pandas.DataFrame(rows))
    assert found.loc["str", ["value", "runs", "reached"]].tolist() == [1.0, 2, False]


def test_where_nothing_is_close_the_nearest_is_named_by_the_share_kept():
    """0.95 leaves half of the wanted rest, 0.83 1.7 times as much; of equals the weaker."""
    rows = [row_of(1.0, 0.83, 0.5), row_of(2.0, 0.95, 0.9), row_of(3.0, 0.6, 0.99)]
    assert best(pandas.DataFrame(rows)).loc["str", "value"] == 1.0
    equal = [row_of(value, 0.9, 0.8) for value in (3.0, 2.0, 4.0)]
    assert best(pandas.DataFrame(equal)).loc["str", ["value", "reached"]].tolist() == [2.0, True]


def test_the_table_has_every_strength_in_per_cent_and_marks_what_is_found():
    rows = [row_of(1.0, 0.7, 0.8), row_of(2.0, 0.9, 0.75), row_of(3.0, 0.97, 0.7)]
    rows += [row_of(1.0, 0.3, 0.6, "lasso"), row_of(4.0, 0.5, 0.6, "lasso")]
    common = {"dataset": "digits", "model": "resnet20", "epochs": 3, "validation": 0.1}
    frame = pandas.DataFrame([{**row, **common, "protocol": "target"} for row in rows])
    console = Console(width=150, record=True, file=io.StringIO())
    report.print_table(console, frame)
    text = console.export_text()
    lines = [[c.strip() for c in line.split("│")[1:-1]] for line in text.splitlines()]
    assert [cells for cells in lines if cells] == [
        ["str", "--str.total 1", "70.00", "85.00", "80.00"],
        ["* str", "--str.total 2", "90.00", "80.00", "75.00"],
        ["str", "--str.total 3", "97.00", "75.00", "70.00"],
        ["lasso", "--lasso.total 1", "30.00", "65.00", "60.00"],
        ["lasso", "--lasso.total 4", "50.00", "65.00", "60.00"],
    ]
    assert "10 % of the training images" in text
    assert "at 90 %" in text


def test_a_cut_is_free_up_to_the_first_that_costs_more_than_a_point():
    sparsities = [0.5, 0.9, 0.8, 0.95]
    assert free(sparsities, [0.98, 0.97, 0.98, 0.98], 0.98) == 0.95
    assert free(sparsities, [0.98, 0.96, 0.98, 0.98], 0.98) == 0.8
    assert free(sparsities, [0.9, 0.98, 0.98, 0.98], 0.98) == 0.0
    assert math.isnan(free(sparsities, [math.nan] * 4, math.nan))


# --- the command, with runs whose outcome is known ---


def outcome(spec):
    """Zeros as a function of the strength: 1 − e^{−value/scale}; cuts are free up to there."""
    name = spec["method"]
    option = "weight_decay" if name == "dense" else f"{name}.total"
    zeros = 1.0 - math.exp(-spec[option] / {"weight_decay": 1e-3}.get(option, 2.0))
    under = [level for level in spec["sparsities"] if level <= zeros]
    return zeros if name == "str" else max(under, default=0.0)


@pytest.fixture
def computed(monkeypatch):
    """The specs of the runs that were computed, each in no time; `stop` breaks off the n-th."""
    specs = []

    def compute(one, place, ranks, tell):
        if computed.stop == len(specs):
            raise Stopped(15, "stopped")
        specs.append(one.spec)
        zeros, levels = outcome(one.spec), one.spec["sparsities"]
        row = {"status": "completed", "message": "", "sparsities": levels}
        row |= dict.fromkeys(("measured_sparsity", "accuracy", "fresh_accuracy"), levels)
        row |= {"uncut_accuracy": 0.9, "last_accuracy": 0.9, "train_accuracy": 0.9}
        return {**row, "natural_sparsity": zeros, "free_sparsity": zeros}, {}

    def computed():
        return specs

    computed.stop = None
    monkeypatch.setattr(one_shot.PROTOCOL, "compute", compute)
    return computed


def strengths(specs, column):
    return [spec[column] for spec in specs if column in spec]


def test_what_is_found_is_printed_as_a_command_that_says_it(tmp_path, computed, capsys):
    """Every method's own option in one command; a flag of all methods in one of its own."""
    flags = ["--methods", "str", "dense", "lasso", "--lasso.total", "1", "--lr", "0.05"]
    assert run.main(["target", *QUICK, *flags, "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [line for line in lines if line.startswith("python -m gpu_bench.run one-shot")]
    assert len(commands) == 2
    found = {}
    for line in commands:
        words = shlex.split(line)[3:]
        study = PROGRAM.configure(words[0], words[1:])
        study.check_given(words[1:])
        assert study.seeds == 3  # one-shot's own
        for one in study.runs():
            spec = one.spec
            assert spec["sparsities"] == [0.9]
            assert (spec["lr"], spec["epochs"], spec["validation"]) == (0.05, 1, 0.0)
            found[spec["method"]] = spec
    assert set(found) == {"str", "dense", "lasso"}
    for name, spec in found.items():
        reached = outcome({**spec, "sparsities": [0.8, 0.89, 0.91, 0.95]})
        assert 0.89 <= reached <= 0.91, name
    rows = results.load(tmp_path)
    assert rows["key"].nunique() == len(computed()) <= 3 * 8
    assert set(rows["protocol"]) == {"target"}
    for name, column in (("str", "str.total"), ("lasso", "lasso.total")):
        tried = strengths(computed(), column)
        assert len(tried) == len(set(tried))
        assert found[name][column] == tried[-1]


def test_of_those_that_reach_it_the_most_accurate_is_taken():
    """More zeros than wanted do for a method that is cut, not for one that makes its own."""
    tried = {1.0: (0.6, 0.99), 1.2: (0.95, 0.7), 1.3: (0.93, 0.875), 1.4: (0.95, 0.875)}
    tried[1.5] = (0.86, 0.99)
    rows = []
    for name in ("mask-l1", "str"):
        for value, (zeros, accuracy) in tried.items():
            row = {"method": name, "status": "completed", "target": 0.9, "sparsity": 0.9}
            row |= {"accuracy": accuracy, "uncut_accuracy": accuracy, "str.shared": False}
            row |= dict.fromkeys(("mask-l1.beta", "str.start"), 1.0)
            row |= dict.fromkeys(("mask-l1.total", "str.total"), value)
            rows.append({**row, "natural_sparsity": zeros, "free_sparsity": zeros})
    found = best(pandas.DataFrame(rows))
    assert found.loc["mask-l1", ["value", "reached", "runs"]].tolist() == [1.3, True, 5]
    assert found.loc["str", ["value", "reached", "sparsity"]].tolist() == [1.5, False, 0.86]


def test_a_search_goes_on_where_it_was_killed(tmp_path, computed):
    """The same strengths as without, each computed once; with --force all of them again."""
    flags = ["target", *QUICK, "--methods", "str", "lasso"]
    assert run.main([*flags, "--out", str(tmp_path / "whole")]) == 0
    whole = list(computed())
    computed().clear()
    computed.stop = 3
    assert run.main([*flags, "--out", str(tmp_path / "parts")]) == 128 + 15
    computed.stop = None
    assert run.main([*flags, "--out", str(tmp_path / "parts")]) == 0
    assert sorted(map(str, computed())) == sorted(map(str, whole))
    assert run.main([*flags, "--out", str(tmp_path / "parts")]) == 0
    assert len(computed()) == len(whole)
    assert run.main([*flags, "--force", "--out", str(tmp_path / "parts")]) == 0
    assert len(computed()) == 2 * len(whole)
    ours, theirs = (results.load(tmp_path / name) for name in ("parts", "whole"))
    assert sorted(ours["key"]) == sorted(theirs["key"])


def test_a_target_out_of_reach_names_the_nearest(tmp_path, computed, capsys):
    flags = ["--methods", "lasso", "str", "--budget", "2", "--lasso.total", "7.2"]
    words = ["target", *QUICK, *flags, "--target", "0.97", "--out", str(tmp_path)]
    assert run.main(words) == 2
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-1] == (
        "error: --target 0.97 was not reached by str in 2 runs: the nearest was 0.777 at "
        "--str.total 3."
    )
    assert "--lasso.total" in shown.out
    assert len(computed()) == 1 + 2


def test_the_seeds_mean_counts(tmp_path, computed):
    assert (
        run.main(["target", *QUICK, "--seeds", "2", "--methods", "str", "--out", str(tmp_path)])
        == 0
    )
    rows = results.load(tmp_path).drop_duplicates("key")
    assert rows.groupby("str.total")["seed"].nunique().eq(2).all()


@pytest.mark.parametrize("name", ["spred", "pilot"])
def test_no_total_is_tried_that_the_steps_refuse(tmp_path, computed, name, capsys):
    """Their strength ends where decay can act no faster; nothing is tried twice."""
    setting = PROGRAM.configure("target", [*QUICK, "--methods", name])
    limit = largest_total(setting.rates(), 0.9)
    assert len(setting.rates()) == (1437 - 144) // 359
    assert run.main(["target", *QUICK, "--methods", name, "--out", str(tmp_path)]) == 2
    assert "the largest that these steps allow." in capsys.readouterr().err
    tried = strengths(computed(), f"{name}.total")
    assert max(tried) <= limit
    assert max(tried) > 0.98 * limit
    assert len(tried) == len(set(tried))


def test_the_strength_is_the_option_that_is_tuned_beside_the_rate():
    kinds = methods.METHODS
    found = {name: kind.strength(kind.options()) for name, kind in kinds.items()}
    assert found.pop("dense") == found.pop("powerprop") == "weight_decay"
    assert found.pop("rigl") == "sparsity"  # which is the target itself
    assert set(found.values()) == {"total"}
    assert kinds["str"].strength({"shared": True}) == "weight_decay"
    original = PROGRAM.configure("target", ["--methods", "str", "--recipe", "original"])
    (one,) = original.runs()
    assert one.spec["weight_decay"] == 5e-4
    original = PROGRAM.configure("target", ["--methods", "powerprop", "--recipe", "original"])
    (one,) = original.runs()
    assert one.spec["weight_decay"] == 1e-4  # 0 would stay 0
    (one,) = PROGRAM.configure(
        "target", ["--methods", "spred"]
    ).runs()  # no total: the grid's first
    assert 2.0 < one.spec["spred.total"] <= methods.METHODS["spred"].grid[0]["total"]


def test_a_method_without_a_strength_is_refused(tmp_path, monkeypatch, capsys):
    @dataclasses.dataclass(frozen=True)
    class Plain(methods.METHODS["dense"]):
        grid = around(lr=(0.1, 0.2))

    monkeypatch.setitem(methods.METHODS, "dense", Plain)
    assert issubclass(Plain, Method)
    flags = ["--methods", "dense", "--out", str(tmp_path / "new")]
    assert run.main(["target", *QUICK, *flags]) == 2
    assert "must have a strength to change, but dense has none" in capsys.readouterr().err


BAD = {
    ("--target", "1"): "--target must lie in (0, 1), but it is 1.0.",
    ("--target", "nan"): "--target must lie in (0, 1), but it is nan.",
    ("--validation", "0"): "--validation must lie in (0, 1) to find a target, but it is 0.",
    ("--budget", "0"): "--budget must be at least 1",
    ("--methods", "rigl", "--target", "0.99999"): "0.9999, but it is 0.99999.",
}


@pytest.mark.parametrize("flags", BAD, ids=" ".join)
def test_bad_input_of_target_is_one_sentence(tmp_path, flags, capsys):
    assert run.main(["target", *QUICK, "--out", str(tmp_path / "new"), *flags]) == 2
    error = capsys.readouterr().err
    assert BAD[flags] in error
    assert error.count("\n") == 1


# --- with real runs ---


def test_a_method_that_is_told_its_sparsity_is_told_the_target(tmp_path, capsys):
    flags = ["--methods", "rigl", "--target", "0.93", "--out", str(tmp_path)]
    assert run.main(["target", *QUICK, *flags]) == 0
    rows = results.load(tmp_path)
    assert rows["key"].nunique() == 1
    assert rows["natural_sparsity"].iloc[0] == pytest.approx(0.93, abs=1e-5)
    assert "--rigl.sparsity 0.93" in capsys.readouterr().out


def test_the_zeros_of_a_real_run_are_those_of_its_row(tmp_path):
    """One of str, whose exact zeros count, one of lasso, whose smallest weights are cut."""
    flags = ["--methods", "str", "lasso", "--budget", "1", "--str.total", "7"]
    code = run.main(["target", *QUICK, *flags, "--out", str(tmp_path)])
    assert code in (0, 2)
    rows = results.load(tmp_path)
    for _, own in rows.groupby("method"):
        one = own.iloc[0]
        expected = free(own["sparsity"], own["accuracy"], one["uncut_accuracy"])
        assert one["free_sparsity"] == expected
    assert rows.set_index("method").loc["str", "natural_sparsity"].iloc[0] > 0.5
