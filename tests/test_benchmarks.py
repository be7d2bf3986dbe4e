"""The benchmark judges by exact answers, times fairly and prints what it measured."""

from __future__ import annotations

import itertools
import mmap
import time
from pathlib import Path

import mpmath
import numpy as np
import pandas
import pytest

import mirrorflow as mf
from benchmarks import flow_entries, growth, large, limit_entries, page, run
from benchmarks.exact import distance, exact_limit, reference_flow, reference_uncertainty
from benchmarks.machine import bound, rates
from benchmarks.measure import Answer, Case, Entry, measure, missing
from benchmarks.plan import GAP, QUICK, l1_gap, plan
from benchmarks.settings import FlowSetting, LimitSetting, starts
from mirrorflow.checks import InputError

ROOT = Path(__file__).parents[1]
RTOL = 1e-8


@pytest.fixture(scope="module")
def setting() -> FlowSetting:
    """Two starts, α = ¼ until t = 2, so that every integrator must stop there."""
    problem = mf.gaussian_recovery(6, 14, 2, 0)
    times = np.array([0.0, 0.5, 2.0, 3.0, 20.0])
    return FlowSetting(problem, starts(14, 2), mf.Constant(0.25, 2.0), times, RTOL)


@pytest.fixture(scope="module")
def reference(setting: FlowSetting) -> np.ndarray:
    return reference_flow(setting)


# --- exact answers


def test_sixty_digits_solve_the_kkt_system() -> None:
    # from x₀ = 0 the gradient of R is ½ arcsinh(x/a): along z = (1, 2) its entries are 1 : 2
    problem, factors = mf.Regression([[1.0, 2.0]], [3.0]), mf.Factors.pilot([0.0, 0.0])
    x = exact_limit(problem, factors, 0.5, np.zeros(1))
    with mpmath.workdps(60):
        a = mpmath.exp(-2) / 2
        assert abs(x[0] + 2 * x[1] - 3) < mpmath.mpf(10) ** -50
        assert abs(2 * mpmath.asinh(x[0] / a) - mpmath.asinh(x[1] / a)) < mpmath.mpf(10) ** -50


def test_distance_does_not_round_the_exact_answer() -> None:
    with mpmath.workdps(60):
        exact = [mpmath.mpf(1) + mpmath.mpf(10) ** -20]
    assert distance(np.array([1.0]), exact) == pytest.approx(1e-20, rel=1e-6)


def test_reference_flow_agrees_with_another_integrator_in_other_coordinates(
    setting: FlowSetting,
) -> None:
    assert reference_uncertainty(setting) < 1e-11


def test_pieces_follow_the_schedule(setting: FlowSetting) -> None:
    first, second = setting.pieces
    assert (first.start, first.end, first.alpha, first.total) == (0.0, 2.0, 0.25, 0.0)
    assert (second.start, second.end, second.alpha, second.total) == (2.0, 20.0, 0.0, 0.5)


def test_more_starts_leave_the_first_unchanged() -> None:
    few, many = starts(9, 2), starts(9, 5)
    for one, other in zip(few, many, strict=False):
        np.testing.assert_array_equal(one.m, other.m)
    assert not np.array_equal(many[0].m, many[1].m)


# --- contestants answer the question


def _answer(entry: Entry) -> np.ndarray:
    absent = missing(entry)
    if absent:
        pytest.skip(f"{', '.join(absent)} not installed (extra `bench`)")
    x = entry.read(entry.prepare()()).x
    assert x is not None
    return x


METHODS = ("LSODA", "odeint, Jacobian", "Radau, Jacobian")


@pytest.mark.parametrize("coordinates", flow_entries.FIELDS)
@pytest.mark.parametrize("method", METHODS)
def test_scipy_flows(setting, reference, coordinates: str, method: str) -> None:
    x = _answer(flow_entries.scipy_flows(setting, coordinates, method))
    assert np.abs(x - reference).max() < 100 * RTOL


@pytest.mark.parametrize("coordinates", flow_entries.FIELDS)
def test_jacobians_are_derivatives(setting: FlowSetting, coordinates: str) -> None:
    field, piece = flow_entries.FIELDS[coordinates](setting, 0), setting.pieces[0]
    rng = np.random.default_rng(0)
    state = field.start + 0.1 * rng.standard_normal(field.start.size)
    step = 1e-5 * rng.standard_normal(state.size)
    ahead, behind = (field.derivative(1.0, state + s * step, piece) for s in (1, -1))
    predicted = 2 * field.jacobian(1.0, state, piece) @ step
    # central differences: relative error of the order of the step's square
    np.testing.assert_allclose(ahead - behind, predicted, atol=1e-7 * np.abs(predicted).max())


@pytest.mark.parametrize("solver", ["Tsit5", "Kvaerno5"])
@pytest.mark.parametrize("coordinates", flow_entries.FIELDS)
def test_diffrax_flows(setting, reference, coordinates: str, solver: str) -> None:
    x = _answer(flow_entries.diffrax_flows(setting, coordinates, solver))
    assert np.abs(x - reference).max() < 100 * RTOL


def test_torchdiffeq_flows(setting, reference) -> None:
    x = _answer(flow_entries.torchdiffeq_flows(setting))
    assert np.abs(x - reference).max() < 100 * RTOL


def test_our_flows_report_their_work(setting, reference) -> None:
    for make in (flow_entries.ours, flow_entries.ours_single):
        entry = make(setting)
        answer = entry.read(entry.prepare()())
        assert np.abs(answer.x - reference).max() < 100 * RTOL
        assert answer.figures["right_hand_sides"] > 0


def test_descent_is_extrapolated_and_judged_where_it_got_to(setting: FlowSetting) -> None:
    free = FlowSetting(setting.problem, setting.factors, mf.Constant(0.0), setting.times, RTOL)
    entry = flow_entries.descent(free, 100)
    # a step is 2η of flow time: t = 20 takes 100,000
    assert entry.stretch == pytest.approx(1000.0)
    error = entry.read(entry.prepare()()).figures["error"]
    # first order in η; a wrong time of comparison gives 1e-2
    assert 1e-7 < error < 1e-4
    with pytest.raises(ValueError, match="without penalty"):
        flow_entries.descent(setting, 100)


@pytest.mark.parametrize(
    ("solver", "tolerance"),
    [("Clarabel", 1e-3), ("Clarabel, tolerances 1e-11", 1e-5), ("SCS", 1e-3)],
)
def test_cone_programs(solver: str, tolerance: float) -> None:
    problem = mf.gaussian_recovery(6, 14, 2, 0)
    asked = LimitSetting(problem, starts(14, 1), (0.0, 1.0))
    x = _answer(limit_entries.cone(asked, solver))[0]
    for total, one in zip(asked.totals, x, strict=True):
        near = mf.interpolator(problem, asked.factors[0], total)
        exact = exact_limit(problem, asked.factors[0], total, near.dual)
        assert distance(one, exact) < tolerance
        assert distance(near.x, exact) < 1e-13


def test_our_limits_are_in_the_order_asked_for() -> None:
    problem = mf.gaussian_recovery(6, 14, 2, 0)
    asked = LimitSetting(problem, starts(14, 3), (0.0, 1.0))
    batch, single = (
        _answer(make(asked)) for make in (limit_entries.ours, limit_entries.ours_single)
    )
    assert batch.shape == (3, 2, 14)
    np.testing.assert_allclose(batch, single, atol=1e-12)


@pytest.mark.parametrize("who", ["ours", "cvxpy", "linprog", "celer", "scikit-learn"])
def test_minimum_l1(who: str) -> None:
    problems = [mf.gaussian_recovery(12, 24, 2, seed) for seed in range(2)]
    if who == "ours":
        entry = limit_entries.ours_l1(problems, starts(24, 1)[0])
    elif who in ("cvxpy", "linprog"):
        entry = limit_entries.minimum_l1(problems, who)
    else:
        entry = limit_entries.lasso_path(problems, who, l1_gap, GAP)
    for problem, x in zip(problems, _answer(entry), strict=True):
        assert l1_gap(problem, x) <= GAP
        # a path ends at λ > 0; the others are at the vertex
        assert np.abs(x - problem.x_true).max() < (1e-4 if "path" in entry.name else 1e-7)


def test_the_gap_is_taken_where_the_constraints_hold() -> None:
    problem = mf.gaussian_recovery(12, 24, 2, 0)
    least = np.abs(np.linalg.pinv(problem.Z) @ problem.y).sum()  # the nearest point to 0
    assert l1_gap(problem, np.zeros(24)) == pytest.approx(least / 2 - 1)  # ‖x*‖₁ = 2


def test_a_path_that_misses_the_gap_is_refused() -> None:
    problems = [mf.gaussian_recovery(4, 12, 3, 0)]  # too few samples: minimum L1 is not x*
    assert l1_gap(problems[0], mf.interpolator(problems[0], starts(12, 1)[0], np.inf).x) > GAP
    entry = limit_entries.lasso_path(problems, "scikit-learn", l1_gap, GAP)
    with pytest.raises(RuntimeError, match="no path of up to 10 decades"):
        entry.prepare()


# --- timing


def _fake(monkeypatch, seconds: dict[str, list[float]]) -> tuple[list[str], list[Entry]]:
    """Entries that take the given seconds, call by call, on a clock of their own."""
    clock, calls = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def make(name: str) -> Entry:
        durations = iter(seconds[name])

        def compute() -> None:
            calls.append(name)
            clock[0] += next(durations)

        runs, stretch = (4, 1.0) if name == "mirrorflow" else (1, 10.0)
        return Entry(name, runs, lambda: compute, lambda _: Answer(np.zeros(1)), stretch=stretch)

    return calls, [make(name) for name in seconds]


def test_entries_are_interleaved_and_ratios_taken_within_a_repetition(monkeypatch) -> None:
    seconds = {"mirrorflow": [9.0, 4.0, 8.0, 16.0], "rival": [9.0, 1.0, 1.0, 3.0]}
    calls, entries = _fake(monkeypatch, seconds)
    case = Case("case", {}, entries, lambda x: {"error": 0.5})
    found = measure(case, 3)
    assert calls == ["mirrorflow", "rival"] * 4
    ours, theirs = (found[who][0] for who in seconds)
    # the first call warms up; a call of ours answers 4 runs, the rival's is stretched by 10
    assert [ours[f"{part}_seconds"] for part in page.SPREAD] == [1.0, 2.0, 4.0]
    assert [theirs[f"{part}_seconds"] for part in page.SPREAD] == [10.0, 10.0, 30.0]
    assert [theirs[f"{part}_ratio"] for part in page.SPREAD] == [5.0, 7.5, 10.0]
    assert ours["error"] == theirs["error"] == 0.5
    assert {row["status"] for row, _ in found.values()} == {"measured"}
    assert [times.size for _, times in found.values()] == [3, 3]


def test_absent_and_failing_rivals_are_named(monkeypatch) -> None:
    _, (ours,) = _fake(monkeypatch, {"mirrorflow": [1.0, 1.0]})

    def give_up() -> None:
        raise RuntimeError("no step is small enough")

    read = ours.read
    absent = Entry("absent", 1, give_up, read, ("numpy", "no_such_package"))
    failing = Entry("failing", 1, lambda: give_up, read)
    case = Case("case", {}, [ours, absent, failing], lambda x: {})
    rows = {name: row for name, (row, _) in measure(case, 1).items()}
    assert (rows["absent"]["status"], rows["absent"]["message"]) == (
        "left out",
        "no_such_package not installed",
    )
    assert rows["failing"]["status"] == "failed"
    assert rows["failing"]["message"] == "RuntimeError: no step is small enough"
    assert rows["mirrorflow"]["status"] == "measured"


# --- growth and the cost model


def test_exponents_of_power_laws() -> None:
    sizes = np.array([10, 20, 40, 80])
    slope, error = growth.exponent(sizes, 3e-4 * sizes**1.5)
    assert slope == pytest.approx(1.5)
    assert error == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(growth.exponent([1, 10], [1.0, 100.0])[1])
    with pytest.raises(ValueError, match="two sizes"):
        growth.exponent([10, 10], [1.0, 2.0])


def test_standard_error_of_an_exponent_is_that_of_regression() -> None:
    from scipy.stats import linregress

    sizes, seconds = np.array([10, 20, 40, 80, 160]), np.array([1.0, 2.5, 3.5, 9.0, 15.0])
    known = linregress(np.log(sizes), np.log(seconds))
    assert growth.exponent(sizes, seconds) == pytest.approx((known.slope, known.stderr))


def test_growth_per_unit_of_work_takes_the_counts_out() -> None:
    rows = pandas.DataFrame(
        {
            "case": f"flow, d = {d}",
            "group": "growth",
            "status": "measured",
            "axis": "d",
            "entry": "mirrorflow",
            "value": d,
            "n": 10,
            "median_seconds": 1e-6 * d * count,
            "right_hand_sides": count,
            "factorizations": 0.0,
        }
        for d, count in ((100, 50.0), (200, 200.0), (400, 100.0))
    )
    found = growth.exponents(rows).iloc[0]
    assert (found["kind"], found["unit"]) == ("flow", "right_hand_sides")
    assert found["per_work"] == pytest.approx(1.0)
    assert found["exponent"] != pytest.approx(1.0, abs=0.1)


def test_bound_counts_products_exponentials_and_factorizations() -> None:
    machine = {"gemm_rate": 1e9, "peak_rate": 2e9, "exp_rate": 1e8, "cholesky_rate": 1e7}
    n, d = 30, 100
    side, factor = 4 * n * d / 2e9 + d / 1e8, n * (n + 1) * d / 2e9 + 9000 / 1e7
    assert bound(n, d, 7, 3, machine) == pytest.approx(7 * side + 3 * factor)


def test_no_entry_of_ours_beats_the_bound_of_the_machine(setting: FlowSetting) -> None:
    problem = mf.gaussian_recovery(20, 200, 2, 0)
    entry = flow_entries.ours(
        FlowSetting(problem, starts(200, 2), mf.Constant(0.0), np.array([0.0, 50.0]), RTOL)
    )
    compute = entry.prepare()
    work = entry.read(compute()).figures
    before = rates(20, 200, 1)
    start = time.perf_counter()
    compute()
    spent = (time.perf_counter() - start) / entry.runs
    after = rates(20, 200, 1)  # the better of both: the machine may have been busy at one
    best = {name: max(before[name], after[name]) for name in before}
    least = bound(20, 200, work["right_hand_sides"], work["factorizations"], best)
    assert 0 < least < spent


# --- the large problem


@pytest.mark.parametrize("density", [None, 0.2])
def test_stages_of_the_large_problem(density: float | None) -> None:
    found = list(large.stages(20, 120, density, 2))
    assert tuple(row["stage"] for row in found) == large.STAGES
    assert [len(row["seconds"]) for row in found] == [1, 1, 2, 2, 2, 2]
    assert all(row["residual"] < 1e-11 for row in found if "residual" in row)
    peaks = [row["peak_bytes"] for row in found]
    assert all(a <= b for a, b in itertools.pairwise(peaks))


def test_peak_memory_remembers_what_was_given_back() -> None:
    now, most = large._resident()
    # 40 MB above the peak so far, straight from the system: malloc may hold memory in reserve
    block = mmap.mmap(-1, most - now + 40_000_000)
    block.write(b"1" * len(block))
    block.close()
    later, highest = large._resident()
    assert highest > most + 30_000_000
    assert later < highest - 30_000_000


def test_peak_memory_of_the_process_is_seen() -> None:
    # 24 MB: far more than what Python happens to hold in reserve
    row, _ = large.run_stages(10, 300_000, None, 1)["generate"]
    assert row["z_bytes"] == 24_000_000
    # the generator and the checked copy; a process's own size would add some 150 MB
    assert 1.0 <= row["peak_bytes"] / row["z_bytes"] < 3.5


def test_a_large_problem_that_fails_says_why() -> None:
    found = large.run_stages(0, 50, None, 1)
    assert {row["status"] for row, _ in found.values()} == {"failed"}
    assert "n must be" in found["generate"][0]["message"]


# --- rows, tables, page


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("benchmarks")


def benchmark(folder: Path, *words: str) -> int:
    return run.main(["--quick", "--repetitions", "2", "--out", str(folder), "--only", *words])


@pytest.fixture(scope="module")
def rows(folder: Path) -> pandas.DataFrame:
    assert benchmark(folder, "limits", "l1") == 0
    return mf.results.load(folder)


def test_the_command_leaves_rows_tables_and_figures(rows: pandas.DataFrame, folder: Path) -> None:
    assert rows["group"].unique().tolist() == ["machine", "limits", "l1"]
    ours = rows[(rows["case"] == "limits") & (rows["entry"] == "mirrorflow")].iloc[0]
    assert ours["status"] == "measured"
    assert ours["error"] < 1e-13
    assert ours["residual"] < 1e-12
    assert ours["least_ratio"] == ours["most_ratio"] == 1.0
    assert "| cvxpy/Clarabel |" in (folder / "table.md").read_text(encoding="utf-8")
    for name in page.FIGURES:
        assert (folder / f"{name}.png").stat().st_size > 1000
        assert (folder / f"{name}.pdf").exists()


def test_finished_cases_are_not_measured_again_and_stay_in_the_table(rows, folder) -> None:
    before = {file: file.stat().st_mtime_ns for file in (folder / "shards").glob("*.run")}
    assert benchmark(folder, "l1") == 0
    after = {file: file.stat().st_mtime_ns for file in (folder / "shards").glob("*.run")}
    assert before == after
    pandas.testing.assert_frame_equal(mf.results.load(folder), rows)


def test_a_case_that_is_not_whole_is_measured_again_with_all_its_entries(rows, folder) -> None:
    case = rows[rows["case"] == "l1"]
    gone = folder / "shards" / f"{case['key'].iloc[-1]}.run"
    gone.unlink()
    assert benchmark(folder, "l1") == 0
    again = mf.results.load(folder).set_index("key").loc[case["key"].iloc[-1]]
    assert (again["status"], again["least_ratio"] > 0) == (case["status"].iloc[-1], True)


def test_bad_counts_are_refused(tmp_path: Path, capsys) -> None:
    assert run.main(["--repetitions", "0", "--out", str(tmp_path)]) == 2
    assert "--repetitions must be" in capsys.readouterr().err


def test_every_case_of_the_plan_has_our_entry_first() -> None:
    for case in plan(QUICK):
        assert case.entries[0].name == "mirrorflow"
        assert len({entry.name for entry in case.entries}) == len(case.entries)


def test_fill_replaces_what_stands_between_the_markers() -> None:
    text = "a\n<!-- begin one -->\nold\n<!-- end one -->\nb\n"
    filled = page.fill(text, {"one": r"new \1"})
    assert filled == "a\n<!-- begin one -->\nnew \\1\n<!-- end one -->\nb\n"
    assert page.fill(filled, {"one": "old"}) == text
    with pytest.raises(InputError, match="begin two"):
        page.fill(text, {"two": ""})


def test_the_page_has_room_for_every_table(rows: pandas.DataFrame) -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    filled = page.fill(text, page.tables(rows))
    assert "| mirrorflow | 8 |" in filled  # 4 runs at 2 totals


def test_the_page_agrees_with_the_rows_beside_it() -> None:
    saved = pandas.read_parquet(ROOT / "figures" / page.ROWS)
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page.fill(text, page.tables(saved)) == text
