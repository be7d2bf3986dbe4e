"""The discrete studies: rows, verdicts that follow the rows, exact flow beside them."""

from __future__ import annotations

import re

import numpy as np
import pandas
import pytest

import mirrorflow as mf
from mirrorflow import results
from mirrorflow.flows import saddle_path
from mirrorflow.problems import gaussian_recovery, random_stream
from mirrorflow.sweep import __main__ as cli
from mirrorflow.sweep import descent_trials, descents
from mirrorflow.sweep.discrete import ORDERS, Discrete
from mirrorflow.sweep.saddles import averages

SMALL = ["--n", "10", "--d", "24", "--k", "2", "--seeds", "2", "--jobs", "1"]
SMALL += ["--step-size", "1e-3", "--steps", "20000", "--record", "20"]
PER = ["--per", "100"]  # of the shapes that decay


def run(name, folder, *flags):
    return cli.main([name, *SMALL, *flags, "--out", str(folder)])


@pytest.fixture(scope="module")
def regularization(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regularization")
    assert run("regularization", folder, *PER, "--totals", "1", "4") == 0
    return folder


def test_rows_and_files(regularization):
    frame = results.load(regularization)
    # 3 regularisers × 4 shapes × 2 totals × 2 initialisations
    assert len(frame) == 48
    assert frame["status"].eq("completed").all()
    assert (regularization / "regularization.png").is_file()
    assert (regularization / "regularization.pdf").is_file()
    assert set(descents.Regularization.units) <= set(frame.attrs["units"])
    # every schedule spends the total it was built for
    assert frame["total_spent"].to_numpy() == pytest.approx(frame["total"].to_numpy(), rel=1e-9)
    paths = results.load_paths(regularization / "paths.npz")
    key = frame["key"][0]
    assert paths[f"{key}/distance"][-1] == frame["distance_end"][0]


def test_rows_are_a_plain_loop(regularization):
    """One "factors" run again as a researcher would write it: mean-squared error, no ½."""
    frame = results.load(regularization)
    row = frame[
        (frame["regularizer"] == "factors") & (frame["shape"] == "harmonic") & (frame["seed"] == 1)
    ].iloc[0]
    problem = mf.gaussian_recovery(10, 24, 2, 0)
    start = descent_trials.start_factors(row.to_dict(), problem)
    m, w = start.m.copy(), start.w.copy()
    for k in range(20000):
        alpha = row["alpha"] / (k // 100 + 1)
        slope = 2 * problem.gradient(m * w)
        m, w = (
            m - 1e-3 * (w * slope + 2 * alpha * m),
            w - 1e-3 * (m * slope + 2 * alpha * w),
        )
    assert np.linalg.norm(m * w - problem.x_true) == pytest.approx(row["distance_end"], rel=1e-8)


def test_effective_total_and_scale_are_those_of_the_accumulators(regularization):
    """Read off the end point, against sums over steps that see η, α and gradients alone."""
    frame = results.load(regularization)
    factors = frame["regularizer"].eq("factors")
    assert frame.loc[~factors, ["total_effective", "scale_effective"]].isna().all(axis=None)
    row = frame[factors & frame["shape"].eq("constant") & frame["total"].eq(1.0)].iloc[0]
    problem = mf.gaussian_recovery(10, 24, 2, 0)
    start = descent_trials.start_factors(row.to_dict(), problem)
    # mse: twice the gradient, so that η is 2e-3 and α half
    alphas = np.full(20_000, row["alpha"] / 2)
    path = mf.follow_descent(problem, start, 2e-3, 20_000, alphas, record=1)
    assert np.median(path.gain[-1]) / 4 == pytest.approx(row["total_effective"], rel=1e-8)
    a = 0.5 * np.abs(start.imbalance) * np.exp(-path.gain[-1])
    assert np.median(a) == pytest.approx(row["scale_effective"], rel=1e-8)
    assert row["total_effective"] > 1.0001 * row["total"]  # what the step size adds


def test_exact_flow_is_the_one_that_descent_approximates(regularization):
    """Halving η halves the distance between GD and the flow in the rows."""
    frame = results.load(regularization)
    rows = frame[frame["with_flow"] & (frame["shape"] == "geometric")]
    folder = regularization / "half"
    flags = ["--totals", "1", "4", "--shapes", "geometric", "--step-size", "5e-4"]
    assert run("regularization", folder, *flags, "--steps", "40000", "--per", "200") == 0
    other = results.load(folder)
    other = other[other["with_flow"]]
    order = ["total", "seed"]
    coarse = rows.sort_values(order)["flow_difference"].to_numpy()
    fine = other.sort_values(order)["flow_difference"].to_numpy()
    assert coarse / fine == pytest.approx(2.0, rel=0.1)
    # and the flow itself is the same one
    assert rows.sort_values(order)["flow_distance"].to_numpy() == pytest.approx(
        other.sort_values(order)["flow_distance"].to_numpy(), rel=1e-5
    )


def test_limits_are_lasso_and_interpolator(regularization):
    frame = results.load(regularization)
    problem = mf.gaussian_recovery(10, 24, 2, 0)
    for shape in ("constant", "quadratic"):
        row = frame[frame["with_flow"] & (frame["shape"] == shape)].iloc[-1]
        if shape == "constant":
            # mse: min ‖Zx − y‖²/n + 2α‖x‖₁, so f + α‖x‖₁
            x = mf.lasso(problem, row["alpha"] / 2).x
        else:
            x = mf.min_potential(
                problem, descent_trials.start_factors(row.to_dict(), problem), row["total"]
            ).x
        distance = np.linalg.norm(x - problem.x_true)
        assert row["limit_distance"] == pytest.approx(distance, abs=1e-5)


def rows_of(**ends):
    """A frame with one row per (regulariser, shape), `ends` the final distances."""
    rows = [
        {
            "regularizer": name,
            "start": "pilot",
            "shape": shape,
            "total": 1.0,
            "with_flow": False,
            "distance_end": end,
        }
        for name, pair in ends.items()
        for shape, end in zip(("constant", "geometric"), pair, strict=True)
    ]
    return pandas.DataFrame(rows)


def test_verdicts_follow_the_rows():
    """Constant nearer or decaying nearer: each claim flips with the numbers."""
    frame = rows_of(factors=(0.2, 0.1), mask_l1=(0.1, 0.2), l1_on_x=(0.1, 0.2))
    assert [v.verdict for v in descents.schedule_claims(frame)] == ["reproduced"] * 6
    frame = rows_of(factors=(0.1, 0.2), mask_l1=(0.2, 0.1), l1_on_x=(0.2, 0.1))
    assert [v.verdict for v in descents.schedule_claims(frame)] == ["not reproduced"] * 6
    alone = frame[frame["shape"] == "constant"]
    assert descents.schedule_claims(alone) == []


def test_initialization_compares_every_strength(tmp_path):
    assert run("initialization", tmp_path, *PER, "--totals", "0.5", "2") == 0
    frame = results.load(tmp_path)
    assert set(frame["start"]) == {"pilot", "balanced"}
    study = descents.Initialization()
    claims = study.verdicts(frame)
    assert claims[0].trials == 4  # 2 shapes × 2 totals
    worse = frame.copy()
    worse.loc[worse["start"].eq("pilot") & worse["total"].eq(0.5), "distance_end"] = 1e3
    assert study.verdicts(worse)[0].verdict == "not reproduced"
    assert (tmp_path / "initialization.png").is_file()


def test_sgd_streams(tmp_path):
    flags = ["--totals", "1", "--shapes", "constant", "--sgd-seeds", "3", "--steps", "500"]
    assert run("sgd", tmp_path, *flags) == 0
    frame = results.load(tmp_path)
    assert len(frame) == 3 * 2 * 3
    for _, some in frame.groupby(["regularizer", "seed"]):
        assert some["distance_end"].nunique() == 3  # other minibatches, other ends
    assert frame["batch_size"].eq(5).all()


def test_divergence_is_said_and_kept(tmp_path, capsys):
    flags = ["--step-size", "5", "--totals", "1", "--shapes", "constant", "--steps", "200"]
    assert cli.main(["schedules", *SMALL, *flags, "--out", str(tmp_path)]) == 0
    frame = results.load(tmp_path)
    assert frame["status"].eq("diverged").any()
    assert frame["distance_end"].notna().all()
    text = " ".join(capsys.readouterr().out.split())
    assert "runs diverged, the first" in text
    assert "use a smaller --step-size" in text


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("sgd", ["--batch", "50"], "--batch must be at least 1 and at most 10, but it is 50"),
        ("sgd", ["--sgd-seeds", "0"], "--sgd-seeds must be at least 1"),
        ("schedules", ["--steps", "0"], "--steps must be at least 1"),
        ("schedules", ["--step-size", "0"], "--step-size must be a finite number above 0"),
        ("schedules", ["--totals", "-1"], "--totals must be a finite number at least 0"),
        ("initialization", ["--beta", "-1"], "--beta must be a finite number above 0"),
        ("regularization", ["--k", "99"], "k must be at least 0 and at most 24"),
    ],
)
def test_bad_input(tmp_path, capsys, name, flags, message):
    assert run(name, tmp_path, *flags) == 2
    errors = capsys.readouterr().err.strip()
    assert message in errors
    assert len(errors.splitlines()) == 1


def test_flow_that_descent_left_or_that_stopped_is_not_judged(regularization):
    """A diverged run says nothing about the flow, nor does a flow that did not get there."""
    frame = results.load(regularization)
    claim = descents.flow_claims(frame)[0]
    assert claim.verdict == "confirmed"
    flows = frame.index[frame["with_flow"]]
    frame.loc[flows[0], ["status", "flow_difference"]] = ["diverged", 1e9]
    frame.loc[flows[1], "flow_difference"] = np.nan
    silent = descents.flow_claims(frame)[0]
    assert (silent.verdict, silent.value < 1e-2) == ("can't be judged in 2", True)
    frame.loc[flows[2], "flow_difference"] = 0.5
    assert descents.flow_claims(frame)[0].verdict == "refuted in 1"


def test_too_few_steps_for_the_decay_refute_nothing(tmp_path):
    """A = 8 in 2000 steps: (1 − 2ηα)^4000 alone is 12 % below e^{−32}."""
    flags = ["--n", "10", "--d", "24", "--k", "2", "--seeds", "1", "--totals", "8", "--jobs", "1"]
    flags += ["--steps", "2000", "--out", str(tmp_path)]
    assert cli.main(["initialization", *flags]) == 0
    frame = results.load(tmp_path)
    off = frame["flow_difference"].dropna()
    assert off.between(0.05, 0.3).any()
    assert descents.flow_claims(frame)[0].verdict.startswith("can't be judged")
    frame.loc[frame["with_flow"], "flow_difference"] = 0.5
    assert descents.flow_claims(frame)[0].verdict.startswith("refuted")


@pytest.fixture(scope="module")
def discrete(tmp_path_factory):
    """Three small step sizes, one at which SGD diverges, one at which all do."""
    folder = tmp_path_factory.mktemp("discrete")
    flags = ["--n", "4", "--d", "10", "--k", "2", "--seeds", "2", "--streams", "3", "--jobs", "1"]
    flags += ["--ratios", "0.04", "0.08", "0.16", "0.9", "30", "--batch", "1"]
    assert cli.main(["discrete", *flags, "--out", str(folder)]) == 0
    return folder


def test_runs_of_steps_end_at_their_exact_limit(discrete):
    frame = results.load(discrete)
    assert len(frame) == 3 * 2 * 5
    done = frame[frame["status"].eq("converged")]
    assert set(done["method"]) == {"gd", "heavy_ball", "sgd"}
    # rounding, against what is of first and of second order
    assert done["discrete_distance"].max() < 1e-11
    small = done[done["ratio"].eq(0.04)]
    assert (small["predicted_distance"] < small["flow_distance"] / 3).all()
    assert small["predicted_distance"].min() > 1e-9
    assert frame.loc[frame["ratio"].eq(30.0), "status"].eq("diverged").all()
    lost = frame[frame["status"].ne("converged")]
    assert lost["flow_distance"].isna().all()
    assert (discrete / "discrete.png").is_file()
    said = Discrete().remarks(frame)
    assert any(text.startswith("gd: at 2 points runs diverged, the least at 30") for text in said)


def test_a_row_of_steps_is_a_plain_loop(discrete):
    frame = results.load(discrete)
    row = frame[frame["method"].eq("heavy_ball") & frame["ratio"].eq(0.08)].iloc[0]
    problem = mf.gaussian_recovery(4, 10, 2, int(row["seed"]))
    x0 = random_stream("discrete", "x0", int(row["seed"])).standard_normal(10) * 10**-0.25
    theta = mf.Factors.pilot(x0, 1.0).theta
    buffer = np.zeros_like(theta)
    for _ in range(row["steps_made"]):
        slope = problem.gradient(theta[0] * theta[1])
        buffer = 0.5 * buffer + slope * theta[::-1]
        theta = theta - row["step_size"] * buffer
    flow = mf.interpolator(problem, mf.Factors.pilot(x0, 1.0), 0.0).x
    apart = np.abs(theta[0] * theta[1] - flow).max() / np.abs(flow).max()
    assert apart == pytest.approx(row["flow_distance"], rel=1e-8)
    # η in units of 2/λ_max of the Hessian in (m, w) at the flow's limit, a step η(1 − μ)
    a = mf.HyperbolicEntropy.of(mf.Factors.pilot(x0, 1.0), 0.0)
    half = problem.Z * np.sqrt(2.0 * np.sqrt(flow**2 + np.exp(2.0 * a.log_a)))
    top = np.linalg.norm(half, 2) ** 2 / 4
    assert row["step_size"] == pytest.approx(0.5 * 0.08 * 2.0 / top, rel=1e-9)


def test_verdicts_on_steps_follow_the_rows(discrete):
    frame, study = results.load(discrete), Discrete()
    claims = {one.claim: one for one in study.verdicts(frame)}
    assert set(claims) == {*Discrete.claims.values(), *ORDERS}
    assert all(one.verdict == "confirmed" for one in claims.values()), claims
    gd = frame["method"].eq("gd") & frame["seed"].eq(1)
    first = frame[gd & frame["ratio"].eq(0.04)]

    def told(claim, **changes):
        """The verdict, and the runs against it, on rows with other numbers."""
        wrong = frame.copy()
        for column, values in changes.items():
            for ratio, value in values.items():
                wrong.loc[gd & wrong["ratio"].eq(ratio), column] = value
        (verdict,) = (one for one in study.verdicts(wrong) if one.claim == claim)
        return verdict.verdict, study.against(wrong, verdict)

    for key, claim in Discrete.claims.items():
        changed = told(claim, **{key: {0.04: 1e3}, f"{key}_holds": {0.04: False}})
        assert changed == ("refuted in 1", first["key"].tolist())
    flow, ahead = ORDERS
    # a prediction of first order, as with half of the gain
    line = {0.04: 1.0e-3, 0.08: 2.02e-3, 0.16: 4.1e-3}
    assert told(ahead, predicted_distance=line) == ("refuted in 1", first["key"].tolist())
    assert told(ahead, predicted_distance={0.04: 1e-12})[0] == "can't be judged in 1"
    # slopes 1.5 and 1.72 come nearer to 2 as the step falls; of long steps none is an order
    assert told(ahead, predicted_distance={0.04: 1.0, 0.08: 3.3, 0.16: 9.3})[0].startswith("can't")
    assert told(ahead, predicted_distance=line, edge={0.04: 9.0})[0] == "can't be judged in 1"
    square = {0.04: 1e-3, 0.08: 4e-3, 0.16: 16e-3}
    assert told(flow, flow_distance=square) == ("refuted in 1", first["key"].tolist())
    assert study.narrowed(study.runs()[0], ahead).ratios == study.ratios
    assert study.narrowed(study.runs()[0], Discrete.claims["cap"]).ratios == (0.01,)


def test_depth_goes_from_l2_to_l1(tmp_path):
    flags = ["--depths", "2", "3", "--scales", "2.5", "0.6", "0.02", "--seeds", "1", "--jobs", "1"]
    flags += ["--n", "10", "--d", "30", "--k", "2", "--flows", "0.5", "--out", str(tmp_path)]
    assert cli.main(["depth", *flags]) == 0
    frame = results.load(tmp_path).set_index(["depth", "scale"])
    for depth in (2, 3):
        rows = frame.loc[depth].sort_index()
        assert rows["l1"].is_monotonic_increasing
        assert rows["l2"].is_monotonic_decreasing
    assert frame.loc[(3, 0.02), "l1"] < frame.loc[(2, 0.02), "l1"]
    # the law of depth 3 is off by O(α)
    assert frame.loc[(3, 0.02), "predicted_l1"] == pytest.approx(
        frame.loc[(3, 0.02), "l1"], rel=0.3
    )
    assert frame["convergence_holds"].count() == 4
    for key in ("l1_excess", "deep_l1_excess", "convergence", "optimality"):
        assert frame[f"{key}_holds"].dropna().all()
    assert (tmp_path / "depth.png").is_file()


def test_small_starts_collapse_on_their_saddles(tmp_path):
    flags = ["--scales", "40", "400", "--n", "10", "--d", "30", "--k", "2", "--jobs", "1"]
    assert cli.main(["saddles", *flags, "--out", str(tmp_path)]) == 0
    frame = results.load(tmp_path).sort_values("scale")
    assert frame["saddle_deviation_holds"].all()
    assert frame["lasso_of_average_holds"].all()
    assert (frame["path_error"] < 1e-12).all()  # lars_path's own rounding
    assert frame["average_error"].iloc[1] < 0.3 * frame["average_error"].iloc[0]
    assert (tmp_path / "saddles.pdf").is_file()


def test_averages_of_a_path_are_its_integral():
    path = saddle_path(gaussian_recovery(6, 15, 2, 0))
    tau = np.array([0.5 * path.times[1], 1.1 * path.times[-1]])
    fine = np.linspace(0.0, tau[1], 200_001)
    expected = path.at(fine)[0].mean(axis=0)
    assert np.abs(averages(path, tau)[0]).max() == 0.0
    assert averages(path, tau)[1] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("study", "flags", "message"),
    [
        ("depth", ["--depths", "1"], "--depths must be .*at least 2"),
        ("depth", ["--scales", "5"], "--scales must be .*3"),
        ("saddles", ["--scales", "0.5"], "--scales must be .*at least 1"),
        ("saddles", ["--end", "0"], "--end must be .*0.1"),
    ],
)
def test_flags_of_depth_and_saddles(study, flags, message, tmp_path, capsys):
    assert cli.main([study, *flags, "--out", str(tmp_path)]) == 2
    assert re.search(message, capsys.readouterr().err)
