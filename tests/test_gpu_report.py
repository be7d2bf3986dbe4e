"""Tables, figures and comparisons, from rows whose numbers are known."""

from __future__ import annotations

import functools
import io
import itertools
import math
import re
from collections import Counter

import numpy as np
import pandas
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from gpu_bench import job, report, run
from gpu_bench.experiment import Place
from gpu_bench.methods import METHODS, option_groups
from gpu_bench.methods.pilot import Pilot
from gpu_bench.protocols import one_shot, per_cycle
from gpu_bench.ranks import Ranks
from gpu_bench.report import (
    comparison,
    cycle_figures,
    drawing,
    gathered,
    lines,
    paired,
    published,
    tables,
)
from gpu_bench.report.per_cycle import tabulated_cycles
from gpu_bench.settings import Cyclic, Iterative, OneShot, Sculpt, Tune
from gpu_bench.sparsities import near, nearest
from mirrorflow import results
from mirrorflow.plots import style
from mirrorflow.runs import progress
from mirrorflow.runs.progress import Board

LAYERS = 3
FLOPS = 1e9  # of a dense epoch


def zeros_of(spec, cycle):
    """The sparsity of a cycle's mask, from 1."""
    if spec["protocol"] == "iterative":
        return 1.0 - spec["keep"] ** (cycle - 1)
    last = spec["protocol"] == "sculpt" and cycle == spec["cycles"]
    return spec["target_sparsity" if last or spec["protocol"] == "cyclic" else "start_sparsity"]


def accuracy_of(spec, cycle):
    """Another number for every reading; seeds 0, 1, 2 are 0, 0.01 and 0.03 above."""
    base = {"dense": 0.6, "pilot": 0.7, "spred": 0.65}[spec["method"]]
    return base + 0.01 * cycle + (0.0, 0.01, 0.03)[spec["seed"]]


def write(folder, setting, diverged=lambda spec: False, accuracy=accuracy_of):
    """Put runs that were never computed into a result folder; returns its rows."""
    runs = setting.runs()
    protocol = setting.module().PROTOCOL
    readings = results.Folder(folder, lists=protocol.columns)
    for one in runs:
        spec, bad = one.spec, diverged(one.spec)
        penalized = spec["method"] != "dense"
        epochs = spec["epochs"] * spec.get("cycles", 1)
        row = {
            "status": "diverged" if bad else "completed",
            "message": "",
            "prunable_weights": 1000,
            "device_name": "CPU",
        }
        first, places = (0.1 if penalized else math.nan), range(1)
        if protocol is one_shot.PROTOCOL:
            places = range(len(spec["sparsities"]))
            row |= {
                "sparsities": spec["sparsities"],
                "measured_sparsity": spec["sparsities"],
                "accuracy": [math.nan if bad else accuracy(spec, -place) for place in places],
                "fresh_accuracy": [math.nan for _ in places],
                "uncut_accuracy": math.nan if bad else accuracy(spec, 0),
                "alpha_first": first,
                "total_spent": 3.0 if penalized else math.nan,
                "total_free": 2.5 if METHODS[spec["method"]].decayed else math.nan,
                "training_flops": FLOPS * epochs,
            }
        else:
            places = range(spec["cycles"])
            zeros = [zeros_of(spec, place + 1) for place in places]
            cost = spec["epochs"] * FLOPS * (1.0 - np.array(zeros))
            row |= {name: [math.nan] * len(zeros) for name in per_cycle.NAMES}
            row |= {"cycle": [place + 1 for place in places], "sparsity": zeros}
            if not bad:
                row |= {
                    "accuracy": [accuracy(spec, place + 1) for place in places],
                    "epochs_spent": [(place + 1) * spec["epochs"] for place in places],
                    "training_flops": list(np.cumsum(cost)),
                    "alpha_first": [first for _ in places],
                    "total_spent": [3.0 * (p + 1) if penalized else math.nan for p in places],
                    "overlap_previous": [math.nan, *[0.8 for _ in places[1:]]],
                    "overlap_final": [(p + 1) / len(places) for p in places],
                    "final_found": [0.9 for _ in places],
                }
            else:  # it diverged in its second cycle, after a first that must not be counted
                first_cycle = {"accuracy": 0.05, "epochs_spent": spec["epochs"]}
                for name, value in first_cycle.items():
                    row[name][0] = value
        arrays = {"layer_density": np.array([[0.1 * (p + 1)] * LAYERS for p in places])}
        for name in ("alpha", "total", "norm", "test_accuracy"):
            arrays[name] = np.linspace(0.1, 0.9, epochs)
        readings.write(one, row, arrays)
    return readings.consolidate(runs, "test", {})


def printed(*words):
    """What report.print_table prints, at a width that cuts nothing."""
    console = Console(width=250, record=True, file=io.StringIO())
    report.print_table(console, *words)
    return console.export_text()


def row_of(text, *starts):
    """The cells of the line of a table whose first cells are these, the last such line."""
    for line in reversed(text.splitlines()):
        cells = [cell.strip() for cell in line.strip()[1:-1].split("│")]
        if cells[: len(starts)] == list(starts):
            return cells
    raise AssertionError(f"no row {starts} in\n{text}")


def curve(axes, number):
    """x and y of a drawn line, without those that only mark places."""
    drawn = [line for line in axes.lines if line.get_label()[:1] != "_"]
    return drawn[number].get_data()


QUICK = {"epochs": 10, "seeds": 3, "device": "cpu"}
LRR = Iterative(variant=("lrr",), cycles=12, **QUICK)
# t(0.975; 2) = 4.302653; the deviation of 0, 0.01, 0.03 is 0.01527525
HALF = 100 * 4.302653 * 0.01527525 / math.sqrt(3)
MEAN = 100 * 0.04 / 3  # of the seeds, above seed 0


def test_levels_of_iterative_pruning_leave_no_gap():
    levels = [1.0 - 0.8**k for k in range(26)]
    for target in np.linspace(0.0, 0.996, 200):
        assert near(nearest(levels, target), target)
    assert nearest(levels, 0.9) == levels[10]  # 10.7 % kept, not 8.6 %
    assert near(0.9, 0.89)
    assert not near(0.9, 0.88)  # 0.12 / 0.1 is more than 0.8^(-1/2) = 1.118
    assert not near(0.98, 0.977)


@pytest.mark.parametrize("asked", [(0.5, 0.9, 0.96, 0.995), (0.0,), (0.7, 0.85, 0.97)])
def test_the_table_shows_the_masks_that_are_on_disk(tmp_path, asked):
    """Another measure of what is nearest would keep 0.995 for the column of 98 %, not 0.96."""
    setting = OneShot(methods=("dense",), seeds=1, epochs=1, sparsities=asked, device="cpu")
    (one,) = setting.runs()
    row, _ = one_shot.PROTOCOL.compute(one, Place(tmp_path), Ranks.join("cpu"))
    kept = {float(file.stem[-6:]) for file in (tmp_path / "weights").glob("*-mask-*.pt")}
    frame = write(tmp_path, setting, accuracy=lambda *_: 0.5)
    heading = next(line for line in printed(frame).splitlines() if "uncut" in line)
    assert kept == {float(word) / 100 for word in heading.split() if word[0].isdigit()}
    assert set(row["sparsities"]) == set(asked)
    assert row["natural_sparsity"] == 0.0  # of dense, what only the cuts change


def test_table_of_iterative_pruning(tmp_path):
    setting = Iterative(variant=("wr", "lrr"), cycles=3, **QUICK)
    frame = write(tmp_path, setting)
    text = printed(frame)
    rows = [line for line in text.splitlines() if "accuracy, %" in line]
    halves = text.splitlines()[text.splitlines().index(rows[0]) + 1]
    assert [f"{60 + c + MEAN:.2f}" for c in (1, 2, 3)] == row_of(rows[0], "WR")[2:]
    assert halves.count(f"± {HALF:.2f}") == 3
    assert len(rows) == 4  # two methods, two variants
    assert text.count("seeds: 3") == 4
    assert row_of(text, "pilot", "zeros, %")[2:] == ["0.0", "20.0", "36.0"]
    assert row_of(text, "", "A")[2:] == ["3.00", "6.00", "9.00"]
    # 10 epochs of 1e9, then of 0.8e9, then of 0.64e9
    spent = [line for line in text.splitlines() if "10^10 mult-adds" in line]
    assert row_of(spent[0], "")[2:] == ["1.00", "1.80", "2.44"]
    assert "epochs spent" in text
    assert row_of(text.replace("┃", "│"), "runs")[2:] == ["10", "20", "30"]


def test_table_of_cyclic_training_and_sculpting(tmp_path):
    setting = Sculpt(sparsities=(0.8, 0.9), mask=("erk", "random"), cycles=2, **QUICK)
    text = printed(write(tmp_path, setting, diverged=lambda spec: spec["seed"] == 1))
    for mask, target in itertools.product(("ERK", "uniform"), (80, 90)):
        assert f"SCULPT, {mask} from 50 % to {target} %" in text
    assert text.count("seeds: 2 (+1 diverged)") == 8
    zeros = [line for line in text.splitlines() if "zeros, %" in line]
    assert row_of(zeros[-1], "pilot")[2:] == ["50.0", "50.0", "90.0"]
    mean = 60 + 1 + 100 * 0.03 / 2  # of seeds 0 and 2
    assert f"{mean:.2f}" in text


def test_table_where_all_runs_diverged(tmp_path):
    frame = write(tmp_path, Cyclic(**QUICK), diverged=lambda spec: True)
    assert printed(frame).count("seeds: 0 (+3 diverged)") == 2
    assert report.figures(tmp_path, frame, {}) == []


def test_cycles_of_the_table(tmp_path):
    long = write(tmp_path / "long", Iterative(variant=("lrr",), cycles=25, methods=("dense",)))
    # 1 − 0.8^(c−1) next to 0, 0.5, 0.8, 0.9, 0.95, 0.98
    assert tabulated_cycles(long) == [1, 4, 8, 11, 14, 19]
    cyclic = write(tmp_path / "cyclic", Cyclic(cycles=15, methods=("dense",)))
    assert tabulated_cycles(cyclic) == [1, 3, 5, 7, 9, 11, 13, 15]
    assert tabulated_cycles(cyclic[cyclic["cycle"] <= 8]) == list(range(1, 9))


def test_published_numbers_stand_beside(tmp_path):
    imagenet = {"dataset": "imagenet", "epochs": 90, "methods": ("dense",), "device": "cpu"}
    frame = write(tmp_path / "sculpt", Sculpt(cycles=4, **imagenet))
    words = " ".join(printed(frame).split())
    assert "SCULPT ≈75.5 at 90 % (450 epochs); LRR as SCULPT at 90 % (900 epochs)" in words
    write(tmp_path / "lrr", Iterative(cycles=11, **imagenet))
    joined = gathered.gather([tmp_path / "lrr", tmp_path / "sculpt"])
    console = Console(width=250, record=True, file=io.StringIO())
    comparison.print_table(console, joined, [0.9])
    text = console.export_text()
    cells = row_of(text, "", "published", "SCULPT")
    assert (cells[4], cells[5], cells[7]) == ("90", "450", "≈75.5")
    assert row_of(text, "", "published", "LRR")[5] == "900"
    assert row_of(text, "", "published", "pilot")[7] == "74.73"
    # the same number of epochs, of one's own runs
    assert row_of(text, "", "SCULPT, ERK from 50 %", "dense")[5] == "450"
    assert row_of(text, "90 %", "LRR", "dense")[4:6] == ["89.3", "990"]
    assert {point.sparsity for point in published.at("cifar10", "resnet20", 0.945)} == {0.95}


@pytest.fixture
def saved(monkeypatch):
    """Keep figures by name instead of writing them."""
    kept = {}

    def save(figure, stem):
        kept[stem.name] = figure
        return [stem]

    monkeypatch.setattr(style, "save", save)
    return kept


def test_figures_of_iterative_pruning(tmp_path, saved):
    frame = write(tmp_path, LRR, diverged=lambda spec: spec["seed"] == 1)
    report.figures(tmp_path, frame, results.load_paths(tmp_path / "paths.npz"))
    figures = saved
    assert set(figures) == {"accuracy", "cost", "epochs", "layers", "overlap"}
    cycle = np.arange(1, 13)
    x, y = curve(figures["accuracy"].axes[0], 1)
    np.testing.assert_allclose(x, 1.0 - 0.8 ** (cycle - 1.0))
    np.testing.assert_allclose(y, 70 + cycle + 1.5)  # pilot, seeds 0 and 2
    epochs, flops = figures["cost"].axes
    np.testing.assert_allclose(curve(epochs, 0), [10 * cycle, 60 + cycle + 1.5])
    np.testing.assert_allclose(curve(flops, 0)[0], 1e10 * np.cumsum(0.8 ** (cycle - 1.0)))
    np.testing.assert_allclose(curve(flops, 0)[1], 60 + cycle + 1.5)
    alpha, _, norm, accuracy = figures["epochs"].axes
    assert len([line for line in alpha.lines if line.get_label()[:1] != "_"]) == 1  # dense has none
    assert len(curve(norm, 1)[0]) == 120
    np.testing.assert_allclose(curve(accuracy, 0)[1][[0, -1]], [10.0, 90.0])
    ends = [line.get_xdata()[0] for line in accuracy.lines if line.get_label()[:1] == "_"]
    assert ends == [10.5 + 10 * place for place in range(11)]
    # 0.5, 0.8, 0.9 kept-ratio neighbours: cycles 4, 8, 11, and the sparsest, 12, for the rest
    titles = [axes.get_title(loc="left") for axes in figures["layers"].axes]
    assert titles == [
        f"cycle {c}: {100 * (1 - 0.8 ** (c - 1)):.1f} % zeros" for c in (4, 8, 11, 12)
    ]
    np.testing.assert_allclose(curve(figures["layers"].axes[1], 0)[1], [80.0] * LAYERS)
    before, last, found = figures["overlap"].axes
    np.testing.assert_allclose(curve(before, 0), [cycle[1:], 0.8 + 0 * cycle[1:]])
    np.testing.assert_allclose(curve(last, 0)[1], cycle / 12)
    np.testing.assert_allclose(curve(found, 1)[1], 0.9)
    for axes in (before, last, found):  # shares: nothing from 0 to 1 is cut off
        assert axes.get_ylim()[0] < 0.0 < 1.0 < axes.get_ylim()[1]
    first, *others = figures["layers"].axes
    assert all(first.get_shared_y_axes().joined(first, axes) for axes in others)


def test_figures_of_cyclic_training_and_one_shot(tmp_path, saved):
    setting = Cyclic(sparsities=(0.8, 0.95), mask=("erk", "snip"), **QUICK)
    frame = write(tmp_path / "cyclic", setting)
    figures = cycle_figures.drawings(frame, results.load_paths(tmp_path / "cyclic/paths.npz"))
    assert "overlap" not in figures  # one mask
    drawn = [line for line in figures["cost"].axes[0].lines if line.get_label()[:1] != "_"]
    assert len({line.get_label() for line in drawn}) == len(drawn) == 8  # methods, masks, targets
    axes = figures["accuracy"].axes[0]
    x, y = curve(axes, 0)
    np.testing.assert_allclose(x, [0.8, 0.95])
    np.testing.assert_allclose(y, [63 + MEAN] * 2)  # after the third cycle
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.max(), band.min()) == pytest.approx((66.0, 63.0))  # of the seeds
    dots = np.sort(axes.collections[1].get_offsets(), axis=0)
    np.testing.assert_allclose(dots[:, 1], np.repeat([63.0, 64.0, 66.0], 2))
    labels = ["dense, cyclic, ERK", "pilot, cyclic, ERK", "dense, cyclic, SNIP"]
    assert [line.get_label() for line in axes.lines][:3] == labels
    frame = write(tmp_path / "one-shot", OneShot(**QUICK))
    paths = results.load_paths(tmp_path / "one-shot/paths.npz")
    report.figures(tmp_path, frame, paths)
    assert set(saved) == {"accuracy", "epochs", "layers"}
    x, y = curve(saved["accuracy"].axes[0], 2)
    np.testing.assert_allclose(x, 1.0 - 0.8 ** np.arange(1.0, 26.0))
    np.testing.assert_allclose(y, 70 - np.arange(25) + MEAN)  # pilot
    assert len(saved["epochs"].axes[0].lines) == 2  # dense has no α, and one training no cycles
    np.testing.assert_allclose(curve(saved["layers"].axes[0], 0)[1], [70.0] * LAYERS)
    assert "98.2 %" in printed(frame)
    # uncut, then at 1 − 0.8^k for k = 7, 10, 13, 18
    means = [60 + MEAN, *(60 - k + 1 + MEAN for k in (7, 10, 13, 18))]
    cells = ["", *(f"{mean:.2f} ± {HALF:.2f}" for mean in means)]  # dense has no A
    assert row_of(printed(frame), "dense")[2:] == cells
    pilot = row_of(printed(frame), "pilot")
    assert pilot[2] == "2.50"
    # folders of earlier versions don't have A of free decay: nothing else is shown as such
    earlier = frame.drop(columns="total_free")
    assert row_of(printed(earlier), "pilot") == [*pilot[:2], "", *pilot[3:]]


def test_a_method_without_a_colour_of_its_own_is_drawn(tmp_path, saved):
    """Nobody should lose a grid's figures to a new method's name."""
    frame = write(tmp_path, OneShot(methods=("dense", "spred", "pilot"), **QUICK))
    renamed = frame.replace({"method": {"dense": "mine", "spred": "yours"}})
    report.figures(tmp_path, renamed, results.load_paths(tmp_path / "paths.npz"))
    mine, yours, pilot = saved["accuracy"].axes[0].lines
    assert (mine.get_label(), pilot.get_color()) == ("mine", lines.METHODS["pilot"].look.colour)
    listed = {kind.look.colour for kind in lines.METHODS.values()}
    assert len({mine.get_color(), yours.get_color()} - listed) == 2


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_fit_the_screen_and_are_not_cut(tmp_path, width):
    """Names and means whole at every width; half widths too where there is room for them."""
    write(tmp_path / "one-shot", OneShot(methods=("all",), **QUICK), accuracy=spread_out)
    write(tmp_path / "lrr", Iterative(variant=("wr", "lrr"), cycles=12, **QUICK))
    masked = Sculpt(sparsities=(0.8, 0.9), mask=("random", "erk"), cycles=6, **QUICK)
    write(tmp_path / "sculpt", masked, diverged=lambda spec: spec["seed"] == 1)
    cifar = OneShot(dataset="cifar10", **QUICK)
    write(tmp_path / "cifar", cifar, diverged=lambda spec: spec["seed"] == 1)
    frames = [results.load(tmp_path / name) for name in ("one-shot", "lrr", "sculpt", "cifar")]
    tried = Tune(methods=("all",), epochs=1, budget=3, device="cpu")
    frames.append(write(tmp_path / "tune", tried, accuracy=spread_out))
    tables = [functools.partial(report.print_table, frame=frame) for frame in frames]
    joined = gathered.gather([tmp_path / name for name in ("one-shot", "lrr", "sculpt")])
    tables.append(functools.partial(comparison.print_table, frame=joined, targets=[0.8, 0.9]))
    for table in tables:
        narrow, wide = (words_of(table, columns) for columns in (width, 400))
        assert max(map(len, narrow.splitlines())) <= width
        assert "…" not in narrow
        lost = Counter(numbers(wide)) - Counter(numbers(narrow))
        if "confidence interval needs" in narrow:
            halves = re.findall(r"[0-9.]+ ± ([0-9.]+)", wide)
            lost -= Counter(halves)
        assert not lost
        names = {word for word in re.findall(r"[A-Za-z][\w-]+", wide) if "interval" not in word}
        assert names <= set(re.findall(r"[A-Za-z][\w-]+", narrow))


def spread_out(spec, cycle):
    """Accuracies of every method, with differences between the seeds of one that are large."""
    return (0.2, 0.5, 0.9999)[spec["seed"]] - 0.002 * abs(cycle)


def words_of(table, width):
    console = Console(width=width, file=io.StringIO())
    table(console)
    return console.file.getvalue()


def numbers(text):
    return re.findall(r"\d[\d.e+]*", text)


def test_the_best_setting_is_marked_before_its_name(tmp_path):
    setting = Tune(methods=("spred",), epochs=1, budget=3, device="cpu")

    def score(spec, cycle=0):
        return spec["lr"] + 0.01 * spec["spred.total"]

    frame = write(tmp_path, setting, accuracy=score)
    best = max((one.spec for one in setting.runs()), key=score)
    table = words_of(functools.partial(report.print_table, frame=frame), 80)
    (marked,) = (line for line in table.splitlines() if "* " in line[:4])
    assert f"spred  │ lr {best['lr']:g}, total {best['spred.total']:g}" in marked


def test_training_far_above_test_is_remarked(tmp_path):
    """Batch norm's running statistics lag; where both are alike nothing is said."""
    frame = write(tmp_path, OneShot(methods=("dense", "pilot"), **QUICK))
    far = frame.assign(
        train_accuracy=0.97, last_accuracy=frame["method"].map({"dense": 0.96, "pilot": 0.0972})
    )
    said = " ".join(printed(far).split())
    assert "pilot 97 % against 10 %" in said
    assert "dense 97" not in said
    assert "running statistics" in said
    assert "running statistics" not in printed(far.assign(last_accuracy=0.9))
    # without batch norm fresh statistics change nothing: another reason, which nobody knows
    assert "running statistics" not in printed(far.assign(fresh_uncut_accuracy=0.0972))
    assert "pilot 97 % against" in " ".join(printed(far.assign(fresh_uncut_accuracy=0.96)).split())
    cycles = write(tmp_path / "cycles", Cyclic(**QUICK))
    assert "pilot 99 % against" not in printed(cycles.assign(train_accuracy=0.8))
    assert "pilot 99 % against 20 %" in printed(cycles.assign(train_accuracy=0.99, accuracy=0.2))


def test_a_folder_that_no_target_is_near_is_named(tmp_path, capsys, saved):
    write(tmp_path / "short", Iterative(cycles=3, **QUICK))
    write(tmp_path / "cyclic", Cyclic(sparsities=(0.9,), **QUICK))
    names = [str(tmp_path / name) for name in ("short", "cyclic")]
    assert run.main(["report", *names, "--out", str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"Left out, no row near 90 % zeros: LRR of {names[0]} (0.0 to 36.0 %)." in said
    assert run.main(["report", names[1], "--out", str(tmp_path / "out")]) == 0
    assert "Left out" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["pilot", "continuous"])
def test_the_live_line_shows_method_seed_and_rate(name, tmp_path):
    epoch = {"loss": 1.955, "accuracy": 0.972, "test_accuracy": 0.981, "alpha": 1.2e-3}
    words = job._words({**epoch, "total": 3.12, "norm": 15427.0, "images_per_second": 12653.0})
    board = Board(3, 0, tmp_path)
    progress.note(tmp_path, "key", f"{name} seed 12", 7, 150, words)
    board._read("key")
    live = words_of(lambda console: console.print(board._progress.get_renderable()), 80)
    assert "…" not in live
    (line,) = (line for line in live.splitlines() if name in line)
    assert f"{name} seed 12" in line
    assert "7/150" in line
    assert "12,653 images/s" in line
    assert set(words.split()) <= set(live.split())


# --- PILoT − rival, seed by seed ---


def differences(frame):
    """The cells of the table of differences: by method and kind, of each level points, verdict."""
    text = words_of(lambda console: paired.print_table(console, frame), 250)
    lines = [[c.strip() for c in line.split("│")[1:-1]] for line in text.splitlines()]
    rows = [cells for cells in lines if len(cells) > 2]
    return {
        (name.removeprefix("pilot − "), kind): list(zip(points, verdicts, strict=True))
        for (name, kind, *points), (_, _, *verdicts) in zip(rows[::2], rows[1::2], strict=True)
    }, text


def made(method, accuracies, total=math.nan, fresh=None, seeds=None, status="completed"):
    """Rows of one run per seed, one level of 90 % zeros."""
    fresh = accuracies if fresh is None else fresh
    return [
        {"method": method, "seed": seed, "sparsity": 0.9, "accuracy": accuracy, "epochs": 6}
        | {"fresh_accuracy": anew, "total_free": total, "status": status}
        for seed, accuracy, anew in zip(seeds or range(9), accuracies, fresh, strict=False)
    ]


OURS = made("pilot", [0.70, 0.72, 0.74], total=3.0)


@pytest.mark.parametrize(
    ("theirs", "points", "said"),
    [
        ([0.69, 0.70, 0.73], "+1.0, +2.0, +1.0", "ahead"),
        ([0.71, 0.73, 0.745], "-1.0, -1.0, -0.5", "behind"),
        ([0.69, 0.70, 0.75], "+1.0, +2.0, -1.0", "?"),
        ([0.69, 0.72, 0.73], "+1.0, +0.0, +1.0", "?"),
        ([0.70 - 1e-15, 0.72 - 1e-15, 0.74 - 1e-15], "+0.0, +0.0, +0.0", "?"),  # rounding
        ([0.60], "+10.0", "?"),  # one seed says nothing
    ],
)
def test_a_verdict_needs_every_seed_and_two_of_them(theirs, points, said):
    """Seeds are paired by their number, not by their place."""
    frame = pandas.DataFrame([*OURS, *made("lasso", theirs)])
    found, _ = differences(frame.iloc[::-1])
    assert found == {("lasso", "as trained"): [(points, said)]}


def test_a_run_that_diverged_is_in_no_pair():
    theirs = made("lasso", [0.6, 0.6]) + made("lasso", [math.nan], seeds=[2], status="diverged")
    found, _ = differences(pandas.DataFrame([*OURS, *theirs]))
    assert found["lasso", "as trained"] == [("+10.0, +12.0", "ahead")]


@pytest.mark.parametrize("total", [math.nan, 3.0])
def test_each_level_has_the_seeds_that_both_have_there(total):
    """Folders reported together may have other sparsities, and some shorter runs."""
    fewer = [row | {"sparsity": 0.8} for row in made("lasso", [0.6, 0.6], total)]
    theirs = [*made("lasso", [0.73, 0.73, 0.73], total), *fewer]
    ours = [*OURS, *(row | {"sparsity": 0.8} for row in OURS[1:])]
    other = [row | {"sparsity": 0.95} for row in made("dense", [0.5, 0.5])]
    found, _ = differences(pandas.DataFrame([*ours, *theirs, *other]))
    cells = [("+12.0", "?"), ("-3.0, -1.0, +1.0", "?"), ("–", "?")]
    assert found["lasso", "as trained"] == cells
    assert found.get(("lasso", "equal A"), cells) == cells
    assert ("lasso", "equal A") in found or math.isnan(total)
    assert not any(name == "dense" for name, _ in found)


@pytest.mark.parametrize("gap", [0.09, 0.1, 0.11])
@pytest.mark.parametrize("lagging", ["pilot", "dense"])
def test_fresh_statistics_have_a_line_where_they_change_much(gap, lagging):
    """Above ten points, of either of the two: what the cut loses may be batch norm's alone."""
    mean = {name: [0.0, 0.0] for name in ("pilot", "dense")}
    fresh = {**mean, lagging: [gap, gap]}
    rows = [row for name in mean for row in made(name, mean[name], fresh=fresh[name])]
    found, _ = differences(pandas.DataFrame(rows))
    sign = 1 if lagging == "pilot" else -1
    expected = [
        (f"{100 * sign * gap:+.1f}, {100 * sign * gap:+.1f}", "ahead" if sign > 0 else "behind")
    ]
    assert found["dense", "as trained"] == [("+0.0, +0.0", "?")]
    assert found.get(("dense", "fresh")) == (expected if gap > 0.1 else None)


def test_equal_totals_are_compared_within_two_per_cent():
    for total, there in ((3.0, True), (3.05, True), (2.95, True), (3.1, False), (2.9, False)):
        theirs = made("spred", [0.69, 0.70, 0.73], total=total)
        found, _ = differences(pandas.DataFrame([*OURS, *theirs]))
        assert (("spred", "equal A") in found) == there, total
        if there:
            assert found["spred", "equal A"] == [("+1.0, +2.0, +1.0", "ahead")]


def test_between_two_totals_the_accuracy_is_interpolated():
    """Several runs of a seed are not compared as trained; at A = 3 spred has 0.5·(0.6 + 0.7)."""
    theirs = made("spred", [0.7, 0.7], total=4.0) + made("spred", [0.6, 0.6], total=2.0)
    twice = made("lasso", [0.7]) + made("lasso", [0.6])
    found, text = differences(pandas.DataFrame([*OURS, *theirs, *twice]))
    assert found == {("spred", "equal A"): [("+5.0, +7.0", "ahead")]}
    assert "several runs of a seed have no other line" in " ".join(text.split())
    # the other way round: the largest A that both have is 3.5
    ours = made("pilot", [0.7, 0.7], total=4.0) + made("pilot", [0.6, 0.6], total=3.0)
    found, _ = differences(pandas.DataFrame([*ours, *made("spred", [0.6, 0.64], total=3.5)]))
    assert found["spred", "equal A"] == [("+5.0, +1.0", "ahead")]


def test_the_differences_stand_below_the_table_and_in_the_report(tmp_path, capsys):
    """And none without PILoT or with it alone; folders of earlier versions have no A."""
    frame = write(tmp_path / "one", OneShot(**QUICK))
    expected = ["as trained", *4 * ["+10.0, +10.0, +10.0"]]
    assert row_of(printed(frame), "pilot − dense")[1:] == expected
    assert row_of(printed(frame), "pilot − spred")[1:] == ["equal A", *4 * ["+5.0, +5.0, +5.0"]]
    earlier = frame.drop(columns=["total_free", "fresh_accuracy"])
    assert row_of(printed(earlier), "pilot − dense")[1:] == expected
    longer = OneShot(**QUICK | {"epochs": 20})
    write(tmp_path / "two", longer)
    words = ["report", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path)]
    assert run.main(words) == 0
    assert capsys.readouterr().out.count("pilot − dense") == 2
    for methods in (("pilot",), ("dense", "spred")):
        found, text = differences(frame[frame["method"].isin(methods)])
        assert (found, text) == ({}, "")


def test_looks_tell_lines_apart(tmp_path):
    setting = Cyclic(
        sparsities=(0.8, 0.9), mask=("erk", "snip", "random"), methods=("all",), seeds=1
    )
    frame = write(tmp_path, setting, accuracy=lambda spec, cycle: 0.5)
    found = lines.lines(frame, lines.setups(frame))
    assert len(found) == len(METHODS) * 6
    assert len({str(line.look) for line in found}) == len({line.label for line in found})
    assert len({line.label for line in found}) == len(found)
    dense = [line.look for line in found if line.method == "dense"]
    assert len({look.marker for look in dense}) == len({str(look.dashes) for look in dense}) == 6
    alone = lines.lines(frame)
    assert [line.label for line in alone] == list(lines.METHODS)
    for part in zip(*(line.look for line in alone), strict=True):
        assert len(set(map(str, part))) >= 7  # each of colour, dashes and marker, but two solids


def folders(tmp_path, **more):
    """One folder of each protocol, of the same images."""
    write(tmp_path / "one-shot", OneShot(**QUICK, **more))
    write(tmp_path / "lrr", LRR)
    write(tmp_path / "cyclic", Cyclic(sparsities=(0.9,), **QUICK))
    write(tmp_path / "sculpt", Sculpt(cycles=10, **QUICK))
    return [tmp_path / name for name in ("sculpt", "lrr", "one-shot", "cyclic")]


def test_report_compares_at_equal_sparsity(tmp_path, capsys):
    out = tmp_path / "out"
    assert run.main(["report", *map(str, folders(tmp_path)), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    # at 90 %: SCULPT and LRR (its eleventh cycle, 89.3 %) after 110 epochs each
    sculpt = row_of(text, "", "SCULPT, ERK from 50 %", "dense")
    assert sculpt[3:6] == ["3", "90.0", "110"]
    assert sculpt[7] == f"{71 + MEAN:.2f} ± {HALF:.2f}"
    assert sculpt[6] == f"{1e10 * (0.5 * 10 + 0.1):.2e}"
    lrr = row_of(text, "", "LRR", "dense")
    assert lrr[4:6] == ["89.3", "110"]
    assert lrr[6] == f"{1e10 * (1 - 0.8**11) / 0.2:.2e}"
    assert row_of(text, "90 %", "one-shot", "dense")[4:7] == ["89.3", "10", "1.00e+10"]
    cyclic = [line for line in text.splitlines() if "cyclic, ERK" in line and "pilot" in line]
    assert [row_of(line, "")[5] for line in cyclic] == ["10", "20", "30"]
    files = {f"comparison-{n}.{s}" for n in ("sparsity", "cost") for s in ("png", "pdf")}
    assert {file.name for file in out.iterdir()} == files
    assert all(file.stat().st_size > 5000 for file in out.iterdir())


def test_comparison_draws_what_it_tabulates(tmp_path, saved):
    frame = gathered.gather(folders(tmp_path))
    assert gathered.targets(frame) == [0.9]
    comparison.figures(tmp_path, frame, [0.9])
    above, below = saved["comparison-cost"].axes
    named = {line.get_label(): line.get_data() for line in above.lines}
    assert next(iter(named)) == "dense, one-shot"
    np.testing.assert_allclose(named["dense, SCULPT, ERK from 50 %"], [[110], [71 + MEAN]])
    np.testing.assert_allclose(named["dense, LRR"], [[110], [71 + MEAN]])
    x, y = named["pilot, cyclic, ERK"]
    np.testing.assert_allclose([x, y], [[10, 20, 30], [71 + MEAN, 72 + MEAN, 73 + MEAN]])
    spent = {line.get_label(): line.get_xdata() for line in below.lines}
    np.testing.assert_allclose(spent["dense, SCULPT, ERK from 50 %"], 1e10 * 5.1)
    axes = saved["comparison-sparsity"].axes[0]
    drawn = {line.get_label(): line.get_data() for line in axes.lines}
    np.testing.assert_allclose(drawn["dense, cyclic, ERK"], [[0.9], [63 + MEAN]])  # the last cycle
    assert len(drawn["spred, one-shot"][0]) == 25


def test_a_line_far_from_the_target_is_not_compared(tmp_path):
    write(tmp_path / "lrr", Iterative(cycles=5, **QUICK))  # to 59 %
    write(tmp_path / "cyclic", Cyclic(sparsities=(0.9,), **QUICK))
    frame = gathered.gather([tmp_path / "lrr", tmp_path / "cyclic"])
    assert set(gathered.at(frame, 0.9)["setup"]) == {"cyclic, ERK"}
    assert set(gathered.at(frame, 0.6)["setup"]) == {"LRR"}
    (legend,) = comparison._cost(frame, [0.9]).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "dense, cyclic, ERK",
        "pilot, cyclic, ERK",
    ]
    iterative = gathered.gather([tmp_path / "lrr"])
    assert gathered.targets(iterative) == [pytest.approx(1 - 0.8**4)]
    assert gathered.targets(gathered.gather([write_folder(tmp_path, LRR)])) == [0.8, 0.9]


def write_folder(tmp_path, setting, name="more"):
    write(tmp_path / name, setting)
    return tmp_path / name


def test_the_same_training_counts_once(tmp_path):
    """A folder given twice, and one whose runs are the first cycles of another's."""
    short = write_folder(tmp_path, Cyclic(cycles=2, **QUICK), "short")
    long = write_folder(tmp_path, Cyclic(cycles=4, **QUICK), "long")
    frame = gathered.gather([short, long, short])
    assert set(frame["setup"]) == {"cyclic, ERK"}
    counts = frame.groupby(["method", "epochs_spent"])["seed"].agg(["count", "nunique"])
    assert (counts.to_numpy() == 3).all()
    assert list(counts.loc["dense"].index) == [10, 20, 30, 40]
    # cut after two cycles or after four: one setup, two budgets
    early = write_folder(tmp_path, Sculpt(cycles=2, **QUICK), "early")
    late = write_folder(tmp_path, Sculpt(cycles=4, **QUICK), "late")
    sculpt = gathered.gather([early, late])
    assert set(sculpt["setup"]) == {"SCULPT, ERK from 50 %"}
    assert sorted(sculpt["epochs_spent"].unique()) == [30, 50]
    assert set(sculpt["sparsity"]) == {0.9}
    assert set(gathered.levels(sculpt)["epochs_spent"]) == {50}


def test_other_options_make_another_line(tmp_path):
    """Runs that differ are never averaged; what follows from the difference isn't repeated."""
    one = write_folder(tmp_path, Iterative(variant=("wr",), cycles=3, **QUICK), "one")
    longer = {**QUICK, "epochs": 30}
    two = write_folder(tmp_path, Iterative(variant=("wr",), cycles=3, **longer), "two")
    strong = option_groups()(pilot=Pilot(total=6.0))
    strong = Iterative(variant=("wr",), cycles=3, options=strong, methods=("pilot",), **QUICK)
    three = write_folder(tmp_path, strong, "three")
    frame = gathered.gather([one, two, three])
    # warm-up and rewind epoch follow from the epochs
    dense = frame.loc[frame["method"] == "dense", "setup"].unique()
    assert list(dense) == ["WR, epochs=10", "WR, epochs=30"]
    pilot = frame.loc[frame["method"] == "pilot", "setup"].unique()
    expected = [
        f"WR, epochs={e}, pilot.total={t}" for e, t in ((10, "none"), (30, "none"), (10, 6))
    ]
    assert list(pilot) == expected
    assert (frame.groupby(["setup", "method", "cycle"])["seed"].count() == 3).all()


def test_diverged_runs_are_named(tmp_path, capsys, saved):
    write(tmp_path / "in", Sculpt(**QUICK), diverged=lambda spec: spec["method"] == "pilot")
    assert run.main(["report", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "Left out, diverged: 3 of pilot, SCULPT, ERK from 50 %." in text


def test_refusals_are_one_sentence(tmp_path, capsys):
    good = write_folder(tmp_path, Cyclic(**QUICK), "good")
    others = {
        "cifar": Cyclic(dataset="cifar10", **QUICK),
        "wide": Cyclic(model="resnet18", **QUICK),
        "held": Cyclic(validation=0.1, **QUICK),
    }
    for name, setting in others.items():
        write(tmp_path / name, setting)
    write(tmp_path / "bad", Cyclic(**QUICK), diverged=lambda spec: True)
    empty = results.Folder(tmp_path / "empty")
    empty.consolidate([], "test", {})
    (tmp_path / "bare").mkdir()
    foreign = results.Folder(tmp_path / "foreign")
    sweep = results.Run({"seed": 0}, "code")
    foreign.write(sweep, {"status": "converged"}, {})
    foreign.consolidate([sweep], "test", {})
    unknown = results.Folder(tmp_path / "unknown")
    strange = results.Run({"protocol": "mine", "method": "dense"}, "code")
    unknown.write(strange, {"status": "completed", "sparsity": 0.5}, {})
    unknown.consolidate([strange], "test", {})
    refusals = {
        ("unknown",): "FOLDER must be of one-shot, ",
        (): "FOLDER must name at least one",
        ("nowhere",): "nowhere is none",
        ("bare",): "holds no rows.parquet",
        ("empty",): "empty has no rows",
        ("foreign",): "foreign holds other rows",
        ("bad",): "all in",
        ("good", "cifar"): "but dataset is digits in",
        ("good", "wide"): "but model is resnet20 in",
        ("good", "held"): "but validation is 0.0 in",
    }
    for names, words in refusals.items():
        given = [str(tmp_path / name) for name in names]
        assert run.main(["report", *given, "--out", str(tmp_path / "out")]) == 2
        check_sentence(capsys.readouterr().err, words)
        for name in names[1:]:
            assert run.main(["report", *reversed(given), "--out", str(tmp_path / "out")]) == 2
            assert str(tmp_path / name) in capsys.readouterr().err
    for flags, words in {
        ("--sparsities", "0.5"): "--sparsities must be near those in the folders",
        ("--sparsities", "1"): "--sparsities must lie in [0, 1), but one is 1.0",
        ("--out", str(good / "rows.parquet")): "--out must be a folder",
    }.items():
        assert run.main(["report", str(good), "--out", str(tmp_path / "out"), *flags]) == 2
        check_sentence(capsys.readouterr().err, words)
    assert not (tmp_path / "out").exists()


def check_sentence(error, words):
    assert words in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_the_ledger_is_tabulated_and_drawn(tmp_path, saved):
    """Of the runs that have one: A of decay and of gradients by layer, mean and range of seeds."""
    frame = write(tmp_path, OneShot(methods=("dense", "pilot"), **QUICK))
    seed, pilot = frame["seed"], frame["method"].eq("pilot")
    columns = {
        **{"balance_ledger": 1e-9 * (seed + 1), "balance_ledger_bound": 4e-9 + 0 * seed},
        **{"ledger_decay": 0.5 + 0.1 * seed, "ledger_gradient": 0.25 + 0 * seed},
        **{"scale_free": 1e-3 + 0 * seed, "scale_measured": 2e-3 * (1 + seed)},
    }
    ledger = frame.assign(**{name: values.where(pilot) for name, values in columns.items()})
    kept = ledger.assign(balance_ledger_holds=True)
    cells = ["0.600", "0.250", "1.00e-03", "4.00e-03", "0.8", "kept"]
    assert row_of(printed(kept), "pilot", "3")[2:] == cells
    broken = ledger.assign(balance_ledger_holds=seed != 1)
    assert row_of(printed(broken), "pilot", "3")[-1] == "broken"
    assert "m² − w²" not in printed(frame)
    paths = results.load_paths(tmp_path / "paths.npz")
    for key, number in zip(frame["key"], seed, strict=True):
        paths[f"{key}/layer_total"] = np.array([1.0, 2.0, 4.0]) * (number + 1)
    report.figures(tmp_path, kept, paths)
    (axes,) = saved["ledger"].axes
    np.testing.assert_allclose(axes.lines[0].get_data(), [[1, 2, 3], [2.0, 4.0, 8.0]])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), 0.6)
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (1.0, 12.0)
    saved.clear()
    balanced = kept.assign(ledger_decay=math.nan, ledger_gradient=math.nan)  # no scale to lose
    assert row_of(printed(balanced), "pilot", "3")[2:4] == ["", ""]
    report.figures(tmp_path, balanced, paths)
    assert "ledger" not in saved
    report.figures(tmp_path, frame, paths)
    assert "ledger" not in saved


def test_names_above_a_figure_stand_in_one_line_where_they_fit(tmp_path):
    frame = write(tmp_path, OneShot(methods=("dense", "pilot"), **{**QUICK, "seeds": 1}))
    short = lines.lines(frame)
    long = [line._replace(name="n" * 150) for line in short]
    figures = [drawing.accuracy(some, "", "") for some in (short, long)]
    assert [figure.legends[0]._ncols > 1 for figure in figures] == [True, False]
    assert figures[1].get_figheight() > figures[0].get_figheight()
    shown = [handle.get_marker() for handle in figures[0].legends[0].legend_handles]
    assert shown == [line.look.marker for line in short]


def test_figures_are_as_wide_as_they_are_told(tmp_path):
    frame = write(tmp_path, OneShot(methods=("dense", "pilot"), **{**QUICK, "seeds": 1}))
    drawn, paths = lines.lines(frame), results.load_paths(tmp_path / "paths.npz")
    for width in ("page", "column"):
        figures = [
            drawing.accuracy(drawn, "", "", width),
            drawing.epochs(drawn, paths, "", width=width),
            drawing.layers(drawn, paths, [(0, "")], "", width),
        ]
        assert {figure.get_figwidth() for figure in figures} == {style.inches(width)}


def test_layers_with_few_weights_are_in_the_picture(tmp_path):
    """A thousandth of a layer too; one without weights is left out."""
    frame = write(tmp_path, OneShot(methods=("dense",), **{**QUICK, "seeds": 1}))
    paths = {f"{frame['key'].iloc[0]}/layer_density": np.array([[0.001, 0.0, 1.0]])}
    (axes,) = drawing.layers(lines.lines(frame), paths, [(0, "")], "").axes
    low, high = axes.get_ylim()
    assert 0.0 < low < 0.1 < 100.0 < high
    assert curve(axes, 0)[1] == pytest.approx([0.1, 0.0, 100.0])


def test_a_cycle_without_readings_has_a_dash(tmp_path):
    frame = write(tmp_path, Iterative(variant=("lrr",), cycles=3, methods=("dense",), **QUICK))
    frame.loc[frame["cycle"] == 2, "accuracy"] = math.nan
    (line,) = (line for line in printed(frame).splitlines() if "accuracy, %" in line)
    cells = [cell.strip() for cell in line.split("│")]
    assert cells[-4:-1] == [f"{61 + MEAN:.2f}", "–", f"{63 + MEAN:.2f}"]


@pytest.mark.parametrize("cycles", [1, 2])
@pytest.mark.parametrize("kind", [Iterative, Cyclic, Sculpt])
def test_figures_of_dense_alone(tmp_path, saved, kind, cycles):
    """Without α and A two panels are empty; the other two mark the ends of the cycles."""
    setting = kind(methods=("dense",), cycles=cycles, **{**QUICK, "seeds": 1})
    frame = write(tmp_path, setting)
    report.figures(tmp_path, frame, results.load_paths(tmp_path / "paths.npz"))
    *without, norm, accuracy = saved["epochs"].axes
    assert not any(axes.lines for axes in without)
    ends = [10.5 + 10 * place for place in range(frame["cycle"].max() - 1)]
    for axes in (norm, accuracy):
        marks = [line for line in axes.lines if line.get_label()[:1] == "_"]
        assert [line.get_xdata()[0] for line in marks] == ends


def test_bands_are_missing_where_there_is_one_seed(tmp_path):
    frame = write(tmp_path, Cyclic(sparsities=(0.9,), **{**QUICK, "seeds": 1}))
    text = printed(frame)
    assert "±" not in text.split("runs", 1)[1]
    figure = cycle_figures.drawings(frame, results.load_paths(tmp_path / "paths.npz"))["accuracy"]
    assert figure.axes[0].lines[0].get_ydata() == pytest.approx([63.0])
    assert "bands" in drawing.BANDS


def test_a_narrow_table_drops_half_widths_and_says_its_title_once():
    """First the half widths go, then columns are set below each other; sections stay apart."""
    title = f"accuracy{tables.INTERVAL}"
    numbers = [["dense", "90.00 ± 0.12", "80.00 ± 0.34"], [], ["pilot", "91.00 ± 0.56", "–"]]

    def printed(width):
        console = Console(file=io.StringIO(), width=width, color_system=None)
        tables.print_table(console, title, ["method", "first", "second"], numbers, remarks=["why"])
        return console.file.getvalue()

    wide, narrow, narrowest = printed(80), printed(32), printed(22)
    assert wide.count("±") == 4  # three cells and the title
    for text in (wide, narrow, narrowest):
        assert text.count("accuracy") == text.count("why") == 1
        assert text.index("accuracy") < text.index("90.00") < text.index("why")
        assert "├" in text  # between the sections
    for text in (narrow, narrowest):
        assert "±" not in text
        assert "its 95 % confidence interval" in " ".join(text.split())
    assert narrow.count("dense") == 1
    assert narrowest.count("dense") == 2


@pytest.mark.parametrize("ends", [(0.5, 0.99), (0.8, 0.9), (0.0, 0.999)])
def test_marks_stand_at_the_shares_kept_of_the_data(ends):
    axes = Figure().subplots()
    axes.plot(ends, [1.0, 2.0])
    drawing.sparsities(axes)
    kept = [float(label.get_text()) / 100 for label in axes.get_xticklabels()]
    assert kept == pytest.approx([1.0 - zeros for zeros in axes.get_xticks()])
    least, most = 1.0 - ends[1], 1.0 - ends[0]
    assert kept == [k for k in drawing.MARKS if 0.7 * least < k < 1.4 * most]
    assert kept
