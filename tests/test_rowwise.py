"""Arithmetic on many rows: right, and for each row the same bits in any company."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from mirrorflow.rowwise import Outer, Stages, inverses, positive_inverses, products

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("L", "k", "n"), [(0, 3, 2), (1, 100, 40), (21, 23, 7), (8, 0, 4)])
def test_products(L, k, n, sparse):
    rows, matrix = RNG.standard_normal((L, k)), RNG.standard_normal((k, n))
    given = scipy.sparse.csr_array(matrix) if sparse else matrix
    found = products(rows, given)
    assert found.shape == (L, n)
    assert np.abs(found - rows @ matrix).max(initial=0.0) < 1e-13
    for part in (slice(0, 1), slice(3, 14), slice(2, None, 3)):
        assert np.array_equal(products(rows[part], given), found[part])


@pytest.mark.parametrize("shape", [(3, 7), (16, 40), (1, 1)])
def test_stages_mix(shape):
    stages, values = Stages(5, shape), RNG.standard_normal((5, *shape))
    for i in range(5):
        stages[i] = values[i]
    weights = RNG.standard_normal(3)
    found = stages.mix(weights)
    assert np.abs(found - np.tensordot(weights, values[:3], 1)).max() < 1e-14
    assert np.array_equal(stages[4], values[4])
    alone = Stages(5, (1, shape[1]))
    for i in range(5):
        alone[i] = values[i, -1:]
    assert np.array_equal(alone.mix(weights)[0], found[-1])


def test_outer_products():
    matrix, weights = RNG.standard_normal((6, 15)), RNG.standard_normal((9, 15))
    found = Outer(matrix)(weights)
    for one, product in zip(weights, found, strict=True):
        assert np.abs(product - (matrix * one) @ matrix.T).max() < 1e-13
        assert np.array_equal(product, product.T)
    assert np.array_equal(Outer(matrix)(weights[4:5])[0], found[4])
    assert Outer.where_small(np.zeros((500, 2))) is None
    assert Outer.where_small(scipy.sparse.csr_array(matrix)) is None


@pytest.mark.parametrize("n", [1, 7, 40])
def test_inverses(n):
    X = RNG.standard_normal((5, n, 2 * n + 1))
    matrices = X @ X.transpose(0, 2, 1)
    for found in (inverses(matrices), positive_inverses(matrices.copy())):
        assert np.abs(matrices @ found - np.eye(n)).max() < 1e-10


def test_a_matrix_without_inverse_spares_the_others():
    matrices = np.stack([np.eye(3), np.zeros((3, 3)), 2 * np.eye(3)])
    found = inverses(matrices)
    assert np.isnan(found[1]).all()
    assert np.array_equal(found[[0, 2]], np.stack([np.eye(3), np.eye(3) / 2]))
    matrices[0, 1, 1] = np.nan
    matrices[1] = np.diag([1.0, -1.0, 1.0])
    found = positive_inverses(matrices)
    assert np.isnan(found[:2]).all()
    assert np.abs(found[2] - np.eye(3) / 2).max() < 1e-15
