r"""Newton's method for limits: one compiled solver for every mirror map, one run at a time.

The limit of a run after total A is x = e^{−δA}X(Vᵀκ) where κ ∈ Rʳ maximises the concave dual

    bᵀκ − Σ_j e^{−δA}Q_j((Vᵀκ)_j),    so that Vx = b,    with Hessian −H, H = V diag(e^{−δA}X′) Vᵀ.

Where the relative rates of x are constant, as for m ⊙ w, a run starts where x at μ = 0 is as large
as the solution, which makes the problem nearly quadratic, and follows κ(A) by tangents, H κ′ = δVx,
to each total in turn. Other maps need no path. What becomes of a run depends on no other.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.compiled.layout import readable
from mirrorflow.compiled.options import kernel, loop
from mirrorflow.compiled.vectors import (
    BLOCK,
    PANEL,
    add_dense,
    add_gram,
    add_product,
    block_end,
    copy,
    factorize,
    fill,
    gram,
    largest,
    solve_factors,
    transposed_dense,
    transposed_product,
)
from mirrorflow.maps.base import MirrorMap
from mirrorflow.rowspace import Basis

__all__ = ["Path", "Solver"]

EPS = float(np.finfo(float).eps)
ROUGH, FINE = 1e-2, 1e-17  # error of the exponents: on the way, and at a total
SURE = 0.1  # Newton steps up to this, in exponents, need no shortening
CHORD = 3e-3  # after a step up to this the same factors serve again
STALLED = 1e-5  # so small a Newton step falls by squares, up to rounding
MOST_STEPS = 60  # to one point of the path
MOST_AT_START = 400  # to its first point
SHORTEST = 1e-3  # stride in A
# rows of `wide`: μ; x, X′ and the rates of x, as the map fills them; Vᵀstep; 1 where a coordinate
# may move; sizes of the start's exponents; scratch
MU, X, DX, RATES, MOVED, FREE, SIZES, SPARE, PANELS = range(9)
KAPPA, TANGENT, LAST, LAST_TANGENT, FIT, GRADIENT, STEP, LAG, SHORT = range(9)  # rows of `short`
# of `numbers`: the rate where it is one for all and decay has a law; δ; typical size of the
# solution; whether kappas[0] holds a start close to it
RATE, DELTA, TYPICAL, WARM, NUMBERS = range(5)


@loop
def _across(Z, columns, factor, inside, v, out):
    """out ← Vᵀv."""
    low, d = np.uintp(0), np.uintp(out.size)
    if factor.size > 0:
        transposed_dense(factor, v, low, np.uintp(factor.shape[1]), inside)
        v = inside
    while low < d:
        high = block_end(low, d)
        transposed_product(Z, columns, v, low, high, out)
        low = high


@loop
def _down(Z, columns, factor, inside, x, out):
    """out ← Vx."""
    low = np.uintp(0)
    fill(out, 0.0)
    if factor.size == 0:
        add_product(Z, columns, x, low, np.uintp(x.size), out)
    else:
        fill(inside, 0.0)
        add_product(Z, columns, x, low, np.uintp(x.size), inside)
        add_dense(factor, inside, low, np.uintp(inside.size), out)


@loop
def _hessian(Z, columns, factor, wide, square, H):
    """Lower half of H."""
    low, d = np.uintp(0), np.uintp(wide.shape[1])
    if factor.size == 0:
        gram(Z, columns, wide[DX], wide[PANELS:], H)
    elif square.shape[0] > factor.shape[0]:
        n = square.shape[1]
        gram(Z, columns, wide[DX], wide[PANELS:], square[:n])
        for i in range(n):
            for k in range(i):
                square[k, i] = square[i, k]
        np.dot(factor, square[:n], square[n:])
        np.dot(square[n:], factor.T, H)
    else:  # Z diag(X′) Zᵀ would lose the square of the condition number
        for i in range(H.shape[0]):
            fill(H[i], 0.0)
        while low < d:
            high = block_end(low, d)
            for i in range(factor.shape[0]):
                transposed_product(Z, columns, factor[i], low, high, wide[SPARE])
                for j in range(low, high):
                    square[i, j - low] = wide[SPARE, j]
            for j in range(low, high):
                wide[SPARE, j - low] = wide[DX, j]
            add_gram(square, wide[SPARE], wide[PANELS:], np.uintp(0), high - low, H)
            low = high


@loop
def _evaluate(parts, wide, map_at, at, mu):
    """x, X′ and the rates at μ after total `at`; False where they are not finite."""
    map_at(parts, np.uintp(0), np.uintp(mu.size), at, mu, wide[X:MOVED])
    finite = True
    for j in range(mu.size):
        if wide[FREE, j] == 0.0:
            wide[X, j], wide[DX, j], wide[RATES, j] = 0.0, 0.0, 0.0
        finite &= abs(wide[X, j]) < np.inf and wide[DX, j] < np.inf
    return finite


@loop
def _length(parts, wide, numbers, map_at, at, climb, rise, reached, noise):
    """How much of a step to take: all of it unless the dual falls there too steeply.

    Where the rates are constant the dual is generalised self-concordant, and log(1 + r)/r of a step
    that moves exponents by r always ascends (Sun and Tran-Dinh, Math. Program. 178, 2019, with
    ν = 2 and M = 1). It is far too short where only vanishing masses move.
    """
    length, sure = 1.0, math.log1p(reached) / reached
    for _ in range(60):
        for j in range(wide.shape[1]):
            wide[SPARE, j] = wide[MU, j] + length * wide[MOVED, j]
        if _evaluate(parts, wide, map_at, at, wide[SPARE]):
            ascent, size = climb, abs(climb)
            for j in range(wide.shape[1]):
                a = wide[MOVED, j] * wide[X, j]
                ascent -= a
                size += abs(a)
            if size < np.inf and ascent >= -0.5 * rise - noise * size:
                break
        if numbers[RATE] > 0.0 and length <= sure:
            break
        length = max(0.25 * length, sure) if length > sure else 0.25 * length
    return length


@loop
def _noise(wide, numbers, at):
    """Relative rounding of the parts of x, as exact as what their exponents are summed from; and
    that of Vx."""
    most, worst, squares = 0.0, 0.0, 0.0
    for j in range(wide.shape[1]):
        most = max(most, wide[DX, j])
    for j in range(wide.shape[1]):
        if wide[DX, j] > EPS * most:
            summed = wide[SIZES, j] + wide[RATES, j] * abs(wide[MU, j])
            worst = max(worst, summed)
            part = wide[DX, j] / max(wide[RATES, j], 1e-300)
            part = min(part, abs(wide[X, j]) + wide[DX, j] * abs(wide[MU, j])) / most
            squares += part * part
    noise = EPS * (1.0 + numbers[DELTA] * abs(at) + worst)
    return noise, noise * most * math.sqrt(squares)


@loop
def _sizes(parts, wide, numbers, map_at):
    """Fill SIZES from X′ at μ = 0; the mean logarithm of the parts of x there."""
    fill(wide[MU], 0.0)
    _evaluate(parts, wide, map_at, 0.0, wide[MU])
    total, count = 0.0, 0
    for j in range(wide.shape[1]):
        size = math.log(max(wide[DX, j], 1e-300) / max(numbers[RATE], 1.0))
        wide[SIZES, j] = abs(size)
        if wide[DX, j] > 1e-280:
            total, count = total + size, count + 1
    return total / count if count > 0 else 0.0


@kernel("NEWTON")
def follow(
    Z, columns, factor, parts, wide, short, inside, pairs, square, numbers, map_at, b, totals,
    kappas, counts,
):  # fmt: skip
    """Fill the rows of `kappas` with κ at ascending totals, and `counts` with factorizations.

    The number of totals that were reached comes back.
    """
    d, typical = np.uintp(wide.shape[1]), _sizes(parts, wide, numbers, map_at)
    zero, r = np.uintp(0), np.uintp(b.size)
    kappa, tangent, step, lag = short[KAPPA], short[TANGENT], short[STEP], short[LAG]
    gradient, fit, H, F = short[GRADIENT], short[FIT], pairs[0], pairs[1]
    fill(kappa, 0.0)
    fill(tangent, 0.0)
    # maps whose rates grow with x end near an end of their domain, where tangents leave it
    follows = numbers[RATE] > 0.0
    goal, at = 0, totals[0]
    if numbers[WARM] > 0.0:
        copy(kappas[0], kappa)
    elif follows and numbers[TYPICAL] == 0.0:  # a common factor of x leaves κ as it is
        at = typical / numbers[DELTA]
    elif follows:
        at -= max(0.0, (math.log(numbers[TYPICAL]) - typical) / numbers[DELTA] + totals[0])
    taken, stride, origin = 0.0, 1.0 if follows else np.inf, at
    tries, most, before, fresh = 0, MOST_AT_START, np.inf, True
    while True:
        there = at == totals[goal] or numbers[TYPICAL] == 0.0
        done, tries = False, tries + 1
        _across(Z, columns, factor, inside, kappa, wide[MU])
        lost = not _evaluate(parts, wide, map_at, at, wide[MU])
        if not lost:
            _down(Z, columns, factor, inside, wide[X], fit)
            for i in range(r):
                gradient[i] = b[i] - fit[i]
            noise, floor = _noise(wide, numbers, at)
            if fresh:
                _hessian(Z, columns, factor, wide, square, H)
                trace = 0.0
                for i in range(r):
                    trace += H[i, i]
                # Where weights vanish, so does what H says of the directions that only they see.
                # The ridge keeps a step there from being made of rounding alone.
                lost = not factorize(H, 10.0 * noise * max(trace, 1e-300), F)
                counts[goal] += 1
        if not lost:
            copy(gradient, step)
            solve_factors(F, step)
            _across(Z, columns, factor, inside, step, wide[MOVED])
            top = max(numbers[TYPICAL], largest(wide[X], zero, d), 1e-300)
            reached, change, rise, climb = 0.0, 0.0, 0.0, 0.0
            for j in range(d):
                relative = wide[DX, j] / top * abs(wide[MOVED, j])
                exponent = wide[RATES, j] * abs(wide[MOVED, j])
                # a rate that varies may vanish in a point, as where X′ is least
                alone = follows and wide[RATES, j] > 0.0
                reached = max(reached, exponent if alone else max(exponent, relative))
                change = max(change, relative)
            for i in range(r):
                rise += gradient[i] * step[i]
                climb += b[i] * step[i]
            # the error after a step falls by its square, or by as much as the steps fall
            error = max(reached, change) * (min(reached, 1.0) if fresh else reached / before)
            done = error <= (FINE if there else ROUGH) or largest(gradient, zero, r) <= floor
            # small steps that fall no more are made of rounding
            done |= fresh and 0.5 * before <= reached <= STALLED
            lost = not (np.isfinite(reached) and np.isfinite(rise) and rise >= 0.0)
            if lost and not fresh:
                fresh, lost, done = True, False, False
                continue
        if not lost:
            if follows and (fresh or done):
                # corrected rather than computed anew, so that directions that vanished weights
                # alone see keep the slope they had when they were seen
                _across(Z, columns, factor, inside, tangent, wide[SPARE])
                for j in range(d):
                    wide[SPARE, j] *= wide[DX, j]
                _down(Z, columns, factor, inside, wide[SPARE], lag)
                for i in range(r):
                    lag[i] = numbers[DELTA] * fit[i] - lag[i]
                solve_factors(F, lag)
                for i in range(r):
                    tangent[i] += lag[i]
            length = 1.0
            if reached > SURE:
                length = _length(parts, wide, numbers, map_at, at, climb, rise, reached, noise)
            for i in range(r):
                kappa[i] += length * step[i]
            fresh = reached > (CHORD if fresh else 0.1 * before)
            before = reached
        if not (done or lost or tries >= most):
            continue
        if done and not lost:
            if there:
                copy(kappa, kappas[goal])
                goal += 1
                if numbers[TYPICAL] == 0.0:
                    for i in range(goal, totals.size):
                        copy(kappa, kappas[i])
                    return totals.size
                if goal == totals.size:
                    return goal
            stride = max(stride, taken * (2.0 if tries > 2 else 8.0))
            copy(kappa, short[LAST])
            copy(tangent, short[LAST_TANGENT])
            origin, most = at, MOST_STEPS
        else:
            if taken <= SHORTEST or counts[goal] >= MOST_AT_START:
                return goal
            stride = 0.25 * taken
        taken = min(stride, totals[goal] - origin)
        at = totals[goal] if stride >= totals[goal] - origin else origin + taken
        for i in range(r):
            tangent[i] = short[LAST_TANGENT, i]
            kappa[i] = short[LAST, i] + taken * tangent[i]
        tries, before, fresh = 0, np.inf, True


class Path(NamedTuple):
    """κ at the totals that were reached, (≤ T, r); factorizations from each total on to the next,
    (T,)."""

    kappa: Array
    counts: NDArray[np.int64]


class Solver:
    """V as compiled code reads it: `matrix`, or `factor` @ `matrix`; for any number of runs."""

    def __init__(self, basis: Basis) -> None:
        self.matrix, self.columns = readable(basis.matrix)
        self.rank, self.d = basis.shape
        n = basis.matrix.shape[0]
        self.factor = np.zeros((0, n)) if basis.factor is None else basis.factor.copy()
        self.square = 0, 0
        if basis.factor is not None:
            self.square = (n + self.rank, n) if basis.even else (self.rank, BLOCK)

    def __call__(
        self,
        start: MirrorMap,
        parts: Array,
        b: Array,
        free: NDArray[np.bool_],
        totals: Array,
        kappa: Array | None = None,
    ) -> Path:
        """Follow the limits of `start` on Vx = b along ascending totals, as far as they are found.

        Parameters
        ----------
        start : MirrorMap
        parts : (…, d) array
            `start.parts()`, or some of them.
        b : (r,) array
        free : (d,) bool array
            Coordinates that may differ from 0.
        totals : (T,) array
        kappa : (r,) array, optional
            A start close to the solution at the first total.
        """
        counts, kappas = np.zeros(totals.size, dtype=np.int64), np.empty((totals.size, self.rank))
        if self.rank == 0:  # Z = 0 constrains nothing
            return Path(kappas, counts)
        wide, numbers = np.empty((PANELS + PANEL, self.d)), np.zeros(NUMBERS)
        wide[RATES], wide[FREE] = start.rate, free
        if math.isfinite(start.decay):
            numbers[RATE], numbers[DELTA] = start.rate, start.decay
        numbers[TYPICAL] = math.hypot(*b.tolist()) / math.sqrt(self.d)
        if kappa is not None:
            numbers[WARM], kappas[0] = 1.0, kappa
        reached = follow(
            self.matrix,
            self.columns,
            self.factor,
            parts,
            wide,
            np.empty((SHORT, self.rank)),
            np.empty(self.factor.shape[1]),
            np.empty((2, self.rank, self.rank)),
            np.empty(self.square),
            numbers,
            start.point.address,
            b,
            totals,
            kappas,
            counts,
        )
        return Path(kappas[:reached], counts)
