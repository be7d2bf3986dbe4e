"""Arrays of any origin: taken as the numbers they are, or refused in a sentence by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from test_fuzz import refused

from mirrorflow import (
    Constant,
    Factors,
    HyperbolicEntropy,
    InputError,
    Piecewise,
    Regression,
    gradient_flow,
    interpolators,
    min_l2,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:the matrix subclass"),
    pytest.mark.filterwarnings("ignore:Z has n = "),
]

PROBLEM = Regression([[1.0, 2.0, 4.0, 8.0]], [3.0])
START = Factors.pilot(np.ones(4))
MASKED = np.ma.masked_values(np.array([0.0, 1.0, 2.0, -9999.0]), -9999.0)
FRAME = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})

# every public place that takes a vector of four numbers, and what it is called there
VECTORS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "y": ("y", lambda v: Regression(np.eye(4, 5), v).y),
    "targets": ("y", lambda v: Regression(np.eye(4, 5), np.ones(4)).with_targets(v).y),
    "x_true": ("x_true", lambda v: Regression(np.ones((1, 4)), [1.0], v).x_true),
    "m": ("m", lambda v: Factors(v, np.ones(4)).m),
    "w": ("w", lambda v: Factors(np.ones(4), v).w),
    "pilot": ("x", lambda v: Factors.pilot(v).x),
    "balanced": ("x", lambda v: Factors.balanced(v).x),
    "theta": ("theta", lambda v: HyperbolicEntropy.of(START).inverse_gradient(v)),
    "potential": ("x", lambda v: HyperbolicEntropy.of(START).gradient(v)),
    "times": ("times", lambda v: gradient_flow(PROBLEM, START, Constant(0.0), v).times),
    "totals": ("totals", lambda v: [limit.x for limit in interpolators(PROBLEM, [START], v)[0]]),
    "knots": ("times", lambda v: Piecewise(v, np.zeros(4)).times),
    "alphas": ("alphas", lambda v: Piecewise(range(4), v).alphas),
    "origin": ("origin", lambda v: min_l2(PROBLEM, v).x),
}

NO_NUMBERS: dict[str, Any] = {
    "masked": MASKED,
    "a list with a mask": [0.0, 1.0, 2.0, np.ma.masked],
    "sparse": sp.csr_array(np.array([[0.0], [1.0], [2.0], [3.0]])),
    "bfloat16": torch.arange(4, dtype=torch.bfloat16),
    "a tensor in memory that NumPy can't see": torch.arange(4.0).to_sparse(),
    "complex": np.arange(4) + 0j,
    "text": ["0", "1", "2", "3"],
    "bytes": np.array([b"0", b"1", b"2", b"3"]),
    "dates": np.arange(4).astype("M8[D]"),
    "durations": np.arange(4).astype("m8[s]"),
    "records": np.zeros(4, [("a", "f8")]),
    "a text among numbers": pd.Series([0.0, 1.0, "two", 3.0]),
    "a gap": pd.Series([0, 1, 2, None], dtype="Int64"),
    "a float gap": pd.Series([0.0, 1.0, 2.0, None]),
    "minus infinity": [0.0, 1.0, 2.0, -np.inf],
    "none": None,
    "a set": {0.0, 1.0, 2.0, 3.0},
    "a row": np.arange(4.0)[None],
    "two columns": np.ones((4, 2)),
    "a number that float64 lacks": [0, 1, 2, 10**400],
}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_sizes_are_bounded_on_both_sides(sign):
    Z = np.ones((2, 3))
    Z[1, 2] = sign * 1e200
    with pytest.raises(
        InputError, match=r"Z must be at most 1e\+\d+ in size, but Z\[1, 2\] is -?1e"
    ):
        Regression(Z, [1.0, 1.0])


@pytest.mark.parametrize("place", VECTORS)
@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_what_is_no_vector_of_numbers_is_refused_by_name(place, kind):
    name, take = VECTORS[place]
    if kind == "none" and place in ("x_true", "origin"):
        return  # there None says that there is no vector
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError) as caught:
            take(NO_NUMBERS[kind])
    refused(caught.value)
    assert str(caught.value).startswith(f"{name} must ")


def readonly_memmap(folder: Any, values: np.ndarray) -> np.ndarray:
    np.save(folder / "v.npy", values)
    return np.load(folder / "v.npy", mmap_mode="r")


NUMBERS: dict[str, Callable[[np.ndarray], Any]] = {
    "list": list,
    "tuple": tuple,
    "column": lambda v: v[:, None],
    "matrix": lambda v: np.matrix(v).T,
    "big-endian": lambda v: v.astype(">f8"),
    "float16": lambda v: v.astype("<f2"),
    "int8": lambda v: v.astype("i1"),
    "unsigned": lambda v: v.astype("u8"),
    "every other": lambda v: np.repeat(v, 2)[::2],
    "backwards": lambda v: v[::-1].copy()[::-1],
    "masked nowhere": np.ma.array,
    "objects": lambda v: np.array([int(entry) for entry in v], dtype=object),
    "Series": lambda v: pd.Series(v, index=list("dcba")),
    "nullable": lambda v: pd.Series(v).astype("Int64"),
    "a frame": lambda v: pd.DataFrame({"v": v}),
    "a nullable frame": lambda v: pd.DataFrame({"v": v}).astype("Float64"),
    "tensor": torch.tensor,
    "tensor with gradient": lambda v: torch.tensor(v, requires_grad=True),
    "parameter": lambda v: torch.nn.Parameter(torch.tensor(v)),
    "column with gradient": lambda v: torch.tensor(v, requires_grad=True)[:, None],
    "half precision with gradient": lambda v: torch.tensor(
        v, dtype=torch.float16, requires_grad=True
    ),
}


@pytest.mark.parametrize("place", VECTORS)
@pytest.mark.parametrize("kind", NUMBERS)
def test_a_vector_of_any_origin_is_its_values(place, kind):
    values = np.arange(4.0)
    _, take = VECTORS[place]
    assert np.array_equal(take(NUMBERS[kind](values)), take(values))


def test_a_file_in_memory_is_its_values(tmp_path):
    for place, (_, take) in VECTORS.items():
        values = np.arange(4.0)
        assert np.array_equal(take(readonly_memmap(tmp_path, values)), take(values)), place


def test_what_is_taken_is_not_written_to():
    tensor = torch.arange(4.0, dtype=torch.float64, requires_grad=True)
    factors = Factors(tensor, np.ones(4))
    with torch.no_grad():
        tensor += 1.0
    assert np.array_equal(factors.m, np.arange(4.0))
    assert tensor.requires_grad


@pytest.mark.parametrize(
    "make",
    [
        np.asfortranarray,
        np.matrix,
        lambda Z: Z.astype(">f4"),
        lambda Z: Z[::-1].copy()[::-1],
        lambda Z: pd.DataFrame(Z, columns=list("abc")),
        lambda Z: pd.DataFrame(Z).astype({0: "Int64", 1: "float32", 2: object}),
        lambda Z: torch.tensor(Z, requires_grad=True),
        lambda Z: np.ma.array(Z, mask=False),
        lambda Z: Z.astype(object),
    ],
)
def test_a_matrix_of_any_origin_is_its_values(make):
    Z = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]])
    assert np.array_equal(Regression(make(Z), [1.0, 2.0]).Z, Z)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: np.ma.masked_greater([[1.0, 9.0, 2.0]], 5.0), "Z must not have masked entries"),
        (lambda: [np.ma.masked_greater([1.0, 9.0], 5.0)], "Z must not have masked entries"),
        (lambda: torch.ones(1, 2, dtype=torch.bfloat16), "Z must not be bfloat16"),
        (lambda: pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, "x"]}), "row 1, column 'b' is 'x'"),
        (lambda: pd.DataFrame({"a": [1], "b": [None]}).astype(object), "row 0, column 'b' is None"),
        (
            lambda: pd.DataFrame(
                {"a": pd.array([1, None], "Int64"), "b": ["u", 1]}, index=["p", "q"]
            ),
            "row p, column 'b' is 'u'",
        ),
        (
            lambda: pd.DataFrame({"a": [1.0, np.nan], "b": 1.0}, index=[7, 8]),
            "row 8, column 'a' is",
        ),
        (lambda: pd.DataFrame({"a": [1e200], "b": 1.0}), r"size, but row 0, column 'a' is 1e\+200"),
        (lambda: pd.DataFrame({"a": pd.Categorical(["lo", "hi"])}), "column 'a' is 'lo'"),
        (lambda: np.array([[1.0, "x"]], dtype=object), r"Z\[0, 1\] is 'x'"),
    ],
)
def test_a_matrix_of_no_numbers_is_refused_by_its_place(make, rule):
    with pytest.raises(InputError, match=rule) as caught:
        Regression(make(), [1.0, 2.0])
    refused(caught.value)


@pytest.mark.parametrize("text", ["2.0", b"2.0", np.str_("2.0")])
def test_text_is_no_number(text):
    with pytest.raises(InputError, match=r"beta must be a number, but it is"):
        Factors.pilot([1.0], text)


# ---- sparse


DENSE = np.rint(3 * (np.random.default_rng(0).random((4, 9)) < 0.5) * 7.3)
FORMATS = "csr", "csc", "coo", "bsr", "dia", "dok", "lil"


def frozen(Z: Any) -> Any:
    for part in ("data", "indices", "indptr", "row", "col", "offsets"):
        array = getattr(Z, part, None)
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    return Z


@pytest.mark.parametrize("writeable", [True, False])
@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix])
@pytest.mark.parametrize("dtype", ["i1", "u2", "f4", "f8", "?"])
@pytest.mark.parametrize("form", FORMATS)
def test_sparse_matrices_of_any_kind_are_their_values(form, dtype, kind, writeable):
    wanted = DENSE.astype(dtype)
    given = kind(wanted).asformat(form)
    given = given if writeable else frozen(given)
    problem = Regression(given, np.ones(4))
    assert problem.Z.dtype == np.float64
    assert np.array_equal(problem.Z.toarray(), wanted.astype(float))
    assert np.array_equal(given.toarray(), wanted)


@pytest.mark.parametrize("writeable", [True, False])
@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("dtype", ["f8", "i1"])
def test_duplicate_entries_are_added_up(form, dtype, writeable):
    """100 + 100 is 200 in 8 bits too; a matrix that claims to have none is not believed."""
    coo = sp.coo_array((np.full(3, 100, dtype), ([0, 0, 1], [2, 2, 0])), shape=(2, 3))
    if form == "coo":
        given = coo
    else:
        kind = sp.csr_array if form == "csr" else sp.csc_array
        indices, indptr = ([2, 2, 0], [0, 2, 3]) if form == "csr" else ([1, 0, 0], [0, 1, 1, 3])
        given = kind((np.full(3, 100, dtype), indices, indptr), shape=(2, 3))
        given.has_canonical_format = True
    before = given.data.copy()
    problem = Regression(given if writeable else frozen(given), np.ones(2))
    assert np.array_equal(problem.Z.toarray(), [[0, 0, 200.0], [100.0, 0, 0]])
    assert problem.Z.nnz == 2
    assert np.array_equal(given.data, before)


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_frozen_sparse_matrices_are_checked(form, value):
    Z = sp.csr_array(DENSE)
    Z.data[0] = value
    i, j = (int(k[0]) for k in Z.nonzero())
    with pytest.raises(InputError, match=rf"Z must be .*, but Z\[{i}, {j}\] is"):
        Regression(frozen(Z.asformat(form)), np.ones(4))


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_array])
def test_indices_beyond_the_shape_are_refused(kind):
    """They are memory that is not the matrix's."""
    Z = kind(DENSE)
    Z.indices[-1] = 10**6
    with pytest.raises(InputError, match="Z must be a sparse matrix in good order"):
        Regression(Z, np.ones(4))


def test_other_targets_leave_everything_else():
    Z = sp.csr_array(DENSE)
    problem = Regression(Z, np.ones(4), np.ones(9), "mine", list("abcdefghi"))
    other = problem.with_targets([1.0, 2.0, 3.0, 4.0])
    assert other.Z is problem.Z
    assert (other.name, other.names, other.x_true) == ("mine", tuple("abcdefghi"), None)
    assert np.array_equal(problem.y, np.ones(4))
    assert other.row_space is not problem.row_space
    with pytest.raises(InputError, match="y must be at most"):
        problem.with_targets([1e200, 2.0, 3.0, 4.0])
