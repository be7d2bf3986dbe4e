"""What is kept of the runs: the recorded rows, the last states, why a run ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.descent.groups import Group
from mirrorflow.descent.inputs import Run
from mirrorflow.descent.stability import LOSSES, stable_step_size
from mirrorflow.descent.steps import LARGEST, FactorsBatch
from mirrorflow.extras import require
from mirrorflow.problems import Regression
from mirrorflow.result import Result

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Descent(Result):
    """The recorded rows of B runs.

    Attributes
    ----------
    steps : (T,) int array
        Recorded steps, ascending; row 0 is the start, the last row the end.
    step_size : float, or (B,) array where it was given as a sequence
        η.
    x : (B, T, d) array
    m, w : (B, d) arrays
        At the end, x = m ⊙ w; for "l1_on_x", which has no factors, m = x and w = 1.
    loss : (B, T) array
        f(x) = 1/(2n)‖Zx − y‖², or twice that for `loss="mse"`; without the penalty.
    distance : (B, T) array or None
        ‖x − x_true‖₂; None where the problem has no x_true.
    total : (B, T) array
        A = Σ η α_k over the steps made, whatever the regulariser.
    gain, shift : (B, T, d) arrays
        Of "factors", else nan: Λ = log(a₀/a), and r up to a vector in the row space of Z, read off
        the state, which makes x the argmin of R_a + ⟨r, ·⟩ over its own Zx: a reading. Only
        `follow_descent`, which sums them over steps and gradients, can be wrong about them. nan for
        balanced coordinates.
    status : B strings
        "completed" or "diverged".
    message : B strings
    diverged_at : (B,) int array
        The first step that took (m ± w)/2 ("factors"), m or w ("mask_l1") or x ("l1_on_x")
        beyond 1e50 in size or to no number at all; −1 where there was none. From that step on
        every array repeats the run's last state before it: see `valid`.

    Examples
    --------
    >>> import mirrorflow as mf
    >>> problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
    >>> run = mf.descend(problem, [start], mf.Constant(0.0), 0.05, 300)
    >>> run.status, run.x.shape[0], bool(run.loss[0, -1] < 1e-20)
    (('completed',), 1, True)
    """

    table: ClassVar[tuple[str, ...]] = ("steps", "loss", "distance", "total", "x")
    steps: NDArray[np.int64]
    step_size: float | Array
    x: Array
    m: Array
    w: Array
    loss: Array
    distance: Array | None
    total: Array
    gain: Array
    shift: Array
    status: tuple[str, ...]
    message: tuple[str, ...]
    diverged_at: NDArray[np.int64]

    @property
    def success(self) -> bool:
        """Whether every run was completed."""
        return bool((self.diverged_at < 0).all())

    def _facts(self) -> dict[str, Any]:
        runs, rows, d = self.x.shape
        sizes = {"runs": runs, "d": d, "steps": int(self.steps[-1]), "recorded": rows}
        worst = float(self.loss[:, -1].max())
        return {**sizes, "diverged": self.status.count("diverged"), "worst_loss_end": worst}

    def to_frame(self) -> pandas.DataFrame:
        """Return the recorded rows of all runs, one below the other, numbered in `run`."""
        require("to_frame of Descent", "pandas")
        import pandas

        frames = []
        for i in range(len(self.x)):
            one = dataclasses.replace(
                self,
                x=self.x[i],
                loss=self.loss[i],
                total=self.total[i],
                distance=None if self.distance is None else self.distance[i],
            )
            frames.append(Result.to_frame(one))
        return pandas.concat(frames, keys=range(len(frames)), names=["run"]).reset_index("run")

    @property
    def valid(self) -> NDArray[np.bool_]:
        """(B, T): False for the rows that only repeat a diverged run's last state."""
        ends = np.where(self.diverged_at < 0, np.iinfo(np.int64).max, self.diverged_at)
        return self.steps[None, :] < ends[:, None]

    @property
    def times(self) -> Array:
        """Flow time η·steps, shape (T,), or (B, T) where the runs have step sizes of their own."""
        return np.multiply.outer(self.step_size, self.steps.astype(np.float64))


class Journal:
    """The rows as they come, and the ends of the runs that diverged."""

    def __init__(self, runs: Sequence[Run], marks: NDArray[np.int64]) -> None:
        shape = (len(runs), marks.size)
        self.runs, self.marks = runs, marks
        self.x = np.zeros((*shape, runs[0].factors.d))
        self.total = np.zeros(shape)
        self.m = np.array([run.factors.m for run in runs])
        self.w = np.array([run.factors.w for run in runs])
        self.x[:, 0] = self.m * self.w
        own = np.array([run.regularizer == "factors" for run in runs])[:, None]
        self.logs = np.full((2, *self.x.shape), np.nan)  # of |m + w| and |m − w|
        self.logs[:, :, 0] = np.where(own, _logs(FactorsBatch.encode(self.m, self.w)), np.nan)
        self.diverged_at = np.full(len(runs), -1, dtype=np.int64)
        self.row = 1

    def note(self, step: int, groups: Sequence[Group], total: Array) -> None:
        """Keep this step's row if it is one of the recorded."""
        if step != self.marks[self.row]:
            return
        for group in groups:
            m, w = group.read()
            self.x[group.runs, self.row] = m * w
            self.total[group.runs, self.row] = total[group.runs]
            if isinstance(group.batch, FactorsBatch):
                self.logs[:, group.runs, self.row] = _logs(group.batch.state)
        self.row += 1

    def close(self, run: int, step: int, m: Array, w: Array, total: float) -> None:
        """A run diverged in this step: its last state fills the rows from here on."""
        after = self.marks >= step
        self.x[run, after], self.total[run, after] = m * w, total
        self.m[run], self.w[run] = m, w
        self.logs[:, run, after] = (
            self.logs[:, run, :1] * 0.0 + _logs(FactorsBatch.encode(m, w))[:, None]
        )
        self.diverged_at[run] = step

    def result(
        self, problem: Regression, step_size: float | Array, loss: str, groups: Sequence[Group]
    ) -> Descent:
        for group in groups:
            self.m[group.runs], self.w[group.runs] = group.read()
        residual = self.x @ problem.Z.T - problem.y
        losses = 0.5 * LOSSES[loss] * np.einsum("bti,bti->bt", residual, residual) / problem.n
        distance = None
        if problem.x_true is not None:
            distance = np.linalg.norm(self.x - problem.x_true, axis=2)
        edges: dict[tuple[int, str], float] = {}
        for run, at in zip(self.runs, self.diverged_at, strict=True):
            pair = id(run.factors), run.regularizer
            if at >= 0 and pair not in edges:
                edges[pair] = stable_step_size(problem, run.factors, run.regularizer, loss)
        messages = [
            "Every step was made."
            if at < 0
            else _advice(int(at), run.step_size, edges[id(run.factors), run.regularizer])
            for run, at in zip(self.runs, self.diverged_at, strict=True)
        ]
        with np.errstate(invalid="ignore"):  # balanced coordinates
            grown = self.logs - self.logs[:, :, :1]
        gain, shift = -(grown[0] + grown[1]), 0.5 * (grown[1] - grown[0])
        arrays = self.x, self.m, self.w, losses, distance, self.total, gain, shift
        status = tuple("completed" if at < 0 else "diverged" for at in self.diverged_at)
        return Descent(self.marks, step_size, *arrays, status, tuple(messages), self.diverged_at)


def _logs(halves: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.log(np.abs(2.0 * halves))


def _advice(step: int, step_size: float, edge: float) -> str:
    return (
        f"Step {step} left the range of numbers up to {LARGEST:g}; use a step_size below "
        f"{min(edge, step_size):g} (2/λ_max by stable_step_size is {edge:g}, less for "
        f"minibatches), or a smaller alpha where 2·step_size·alpha is above 1."
    )
