"""Displays: one short line for `repr`, whatever the size and the status; escaped HTML."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import scipy.sparse as sp

from mirrorflow import (
    Certificate,
    Constant,
    Descent,
    Factors,
    HyperbolicEntropy,
    Piecewise,
    Reference,
    Regression,
    Stepwise,
    descend,
    gaussian_recovery,
    gradient_flow,
    interpolator,
    lasso_limit,
    min_l1,
)
from mirrorflow.limits.optimality import MESSAGES

PROBLEM = gaussian_recovery(6, 300, 2, 0)
START = Factors.pilot(np.ones(300))
HUGE = "x" * 10_000
CERTIFICATE = Certificate.of("optimality", 1.2345678e-123, 2.3456789e-123)
RUNS = descend(PROBLEM, [START, START], Stepwise("constant", 0.0), 0.5, 300)


def shown() -> dict[str, object]:
    """Every kind of problem and result, usual and odd."""
    flow = gradient_flow(PROBLEM, START, Constant(0.1), [0.0, 1.0, math.inf])
    limit = interpolator(PROBLEM, START, 1.0)
    reference = min_l1(PROBLEM)
    names = ("times", "x", "parameters", "loss", "total")
    empty = {name: getattr(flow, name)[:0] for name in names}
    statuses = {
        f"limit {status}": dataclasses.replace(limit, status=status, message=MESSAGES[status])
        for status in MESSAGES
    }
    worst = dict.fromkeys(("constraint_residual", "stationarity_residual", "gap"), -1.2345e-300)
    one = Factors([0.0], [0.0])
    return {
        "problem": PROBLEM,
        "problem without x_true": Regression(np.ones((1, 2)), [1.0]),
        "problem with a long name": Regression(
            np.ones((1, 2)), [1.0], [1.0, 0.0], HUGE, (HUGE, "b")
        ),
        "problem with a wild name": Regression(np.ones((1, 2)), [1.0], None, "<b>\n\x1b[2J\u2028"),
        "sparse problem": Regression(sp.csr_array(PROBLEM.Z), PROBLEM.y),
        "factors": START,
        "balanced factors": Factors.balanced(np.full(300, 1e300)),
        "factors of huge product": Factors([1e300], [1e300]),
        "flow": flow,
        "flow that failed at once": dataclasses.replace(
            flow, **empty, status="failed", message="<script>" + HUGE
        ),
        "limit": limit,
        **statuses,
        "limit with nan": dataclasses.replace(limit, gap=math.nan, constraint_residual=math.inf),
        "limit with long numbers": dataclasses.replace(limit, **worst),
        "lasso": lasso_limit(PROBLEM, START, 0.1),
        "reference": reference,
        "reference that failed": Reference(np.zeros(300), math.inf, "infeasible_or_" + HUGE, HUGE),
        "descent": RUNS,
        "descent that diverged": dataclasses.replace(
            RUNS, status=("completed", "diverged"), diverged_at=np.array([-1, 7])
        ),
        "entropy": HyperbolicEntropy.of(START, 1.0),
        "balanced entropy": HyperbolicEntropy.of(one, 1.0),
        "certificate": CERTIFICATE,
        "certificate of nan": Certificate.of("arrival", math.nan, 1.0),
        "pieces": Piecewise(np.arange(500.0), np.zeros(500)),
    }


SHOWN = shown()


@pytest.mark.parametrize("kind", SHOWN)
def test_repr_is_one_short_line_without_arrays(kind):
    text = repr(SHOWN[kind])
    assert text.isprintable()
    assert len(text) <= 160
    assert text.startswith(type(SHOWN[kind]).__name__)
    assert "array" not in text
    assert "np." not in text


@pytest.mark.parametrize("kind", [kind for kind in SHOWN if kind != "pieces"])
def test_html_is_one_table_that_is_escaped(kind):
    """It parses, and nothing but the table's own elements is in it."""
    table = ET.fromstring(SHOWN[kind]._repr_html_().replace("\x1b", ""))  # no letter of XML
    assert {element.tag for element in table.iter()} <= {"table", "caption", "tr", "th", "td"}
    assert table.findtext("caption") == type(SHOWN[kind]).__name__


def cells(result: object) -> dict[str, str]:
    table = ET.fromstring(result._repr_html_())
    return {row.findtext("th"): row.findtext("td") for row in table.iter("tr")}


def test_what_is_said_is_what_is_there():
    assert repr(PROBLEM) == "Regression(name='gaussian', n=6, d=300, nonzeros_of_x_true=2)"
    assert "stored_entries=1800" in repr(SHOWN["sparse problem"])
    flow, limit = SHOWN["flow"], SHOWN["limit"]
    assert repr(flow).startswith("Flow(times=3, d=300, t_end=inf, status='completed', loss_end=")
    assert f"loss_end={flow.loss[-1]:.3g}" in repr(flow)
    assert f"residual={limit.constraint_residual:.3g}" in repr(limit)
    for status, message in MESSAGES.items():
        assert f"status={status!r}"[:40] in repr(SHOWN[f"limit {status}"])
        assert cells(SHOWN[f"limit {status}"])["message"] == message
    assert "runs=2" in repr(RUNS)
    assert "diverged=1" in repr(SHOWN["descent that diverged"])
    assert "balanced=300" in repr(SHOWN["balanced factors"])
    assert repr(Piecewise([0, 1], [2, 0])) == "Piecewise([0.0, 1.0], [2.0, 0.0])"


def test_certificates_say_by_a_mark_whether_they_hold():
    assert cells(CERTIFICATE)["holds"] == "✓"
    assert cells(SHOWN["certificate of nan"])["holds"] == "✗"
    assert repr(CERTIFICATE).endswith("holds=True)")


@pytest.mark.parametrize("kind", SHOWN)
def test_a_copy_shows_the_same(kind):
    one = SHOWN[kind]
    assert repr(pickle.loads(pickle.dumps(one))) == repr(copy.deepcopy(one)) == repr(one)
    assert not hasattr(one, "__dict__")
    assert isinstance(RUNS, Descent)
