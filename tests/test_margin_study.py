"""Study `margins` and its figure; costs of signs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import mirrorflow as mf
from mirrorflow import certificates as certify
from mirrorflow import plots, results
from mirrorflow.sweep import __main__ as cli

CASES = json.loads((Path(__file__).parent / "data" / "atlas_flow_cases.json").read_text())
FLAGS = ["--scales", "10", "1e-3", "--totals", "0", "1", "--log-times", "-5", "3", "100"]


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    folder = tmp_path_factory.mktemp("margins")
    small = ["--seeds", "1", "--n", "4", "--d", "9", "--jobs", "1", "--out", str(folder)]
    assert cli.main(["margins", *FLAGS, *small]) == 0
    assert (folder / "margins.pdf").stat().st_size > 1000
    return results.load(folder)


def test_rows(frame):
    assert len(frame) == 9
    assert frame["status"].eq("completed").all()
    late = frame[frame["log_time"].eq(100.0)]
    assert late["gap_holds"].astype(bool).all()
    known = late[late["direction_holds"].notna()]
    assert known["direction_holds"].astype(bool).all()
    assert (late["l1_excess"].astype(float) > -1e-9).all()
    # at the same γ/a the margin problem has no larger R, but its own norms
    assert (late["ratio"].astype(float) > 1.0).all()
    quiet = frame[frame["gamma"].astype(float).isna()]
    assert quiet["gap_holds"].isna().all()


def test_the_figure_reads_rows_alone(frame):
    figure = plots.margins(frame)
    left, right = figure.axes[:2]
    assert r"\gamma/a" in left.get_xlabel()
    assert r"\log t" in right.get_xlabel()
    assert min(t.get_fontsize() for axes in (left, right) for t in axes.get_xticklabels()) >= 7


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("mw_pilot_beta1", mf.Factors.pilot([0.5])),
        ("ham_alpha200", mf.Ham([0.5], 200.0)),
        ("powerprop_3_2", mf.SignedPower([0.5 ** (2.0 / 3.0)], 1.5)),
    ],
)
def test_c21_costs_of_a_sign(name, start):
    assert certify.flip_cost(start)[0] == pytest.approx(
        float(CASES["C21_flip_costs"][name]), rel=1e-12
    )


def test_c21_cost_by_a_uniform_start():
    """u³ − v³ from u = v = 0.1: as much from 0 to ½ as back."""
    cost = mf.Powers([0.1], [0.1], 3).potential().gradient([0.5])[0]
    assert cost == pytest.approx(float(CASES["C21_flip_costs"]["uv_cubed_alpha_1_10"]), rel=1e-12)


def test_signs_that_are_kept_have_no_price():
    assert np.isinf(certify.flip_cost(mf.Factors.balanced([0.5, -1.0]))).all()
    assert np.isinf(certify.flip_cost(mf.SignedPower([0.5, -1.0], 3.0))).all()


STARTS = {
    "m w": lambda draw: mf.Factors.pilot(0.3 * draw.standard_normal(16)),
    "3 layers": lambda draw: mf.DeepFactors(
        draw.uniform(0.4, 1.2, (3, 16)) * draw.choice([-1, 1], (3, 16))
    ),
    "u³ − v³": lambda draw: mf.Powers(*draw.uniform(0.4, 1.0, (2, 16)), 3),
}


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_decay_changes_no_sign_by_itself(name, alpha):
    draw = np.random.default_rng(3)
    start = STARTS[name](draw)
    problem = mf.Regression(draw.standard_normal((6, 16)), 6.0 * draw.standard_normal(6))
    path = mf.direct_flow(
        problem, start, mf.Constant(alpha), np.linspace(0.0, 6.0, 61), 1e-10, accumulate=True
    )
    assert (np.sign(path.x[-1]) != np.sign(start.x)).any()
    assert certify.sign_rule(path, 1e-10).holds
    assert certify.sign_rule(path, 1e-10, 0.5).verdict == "refuted"
    still = mf.Regression(np.zeros((1, 16)) + 1e-30, [0.0])
    alone = mf.direct_flow(still, start, mf.Constant(1.0), [0.0, 3.0], 1e-10, accumulate=True)
    assert (np.sign(alone.x[-1]) == np.sign(start.x)).all()
