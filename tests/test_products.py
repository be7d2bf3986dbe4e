"""Arithmetic on many rows: right, and each row bitwise independent of the others."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from mirrorflow.descent.products import products

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
