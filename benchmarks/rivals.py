"""Study: flows and limits against every rival, one table, its figures and its page.

python -m benchmarks.run --quick                 # all of it at toy size, a minute or two
python -m benchmarks.run                         # half an hour to an hour, on an idle machine
python -m benchmarks.run --publish               # and docs/performance.md with figures/
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from benchmarks import plan
from mirrorflow.checks import Array, whole
from mirrorflow.runs.flags import described
from mirrorflow.runs.store import Run, atomic_write, environment
from mirrorflow.runs.store.environment import versions
from mirrorflow.runs.study import Study, Verdict

if TYPE_CHECKING:
    import pandas
    from rich.console import Console

Group = Literal["flows", "stiff", "limits", "l1", "growth", "large"]
ROOT = Path(__file__).parents[1]
MEASURED = ["numpy", "scipy", "torch", "cvxpy", "clarabel", "scs", "highspy", "scikit-learn"]
MEASURED += ["celer", "diffrax", "jax", "torchdiffeq"]


@dataclass(frozen=True)
class Rivals(Study, name="rivals", about="flows and limits against every rival (the default)"):
    """Time flows and limits against every rival; the entries of a case take turns.

    A case whose entries are all on disk is not measured again, unless code or versions change.
    """

    quick: bool = False
    """Toy sizes: shows that everything runs, its figures mean nothing."""
    only: Annotated[tuple[Group, ...], described("all")] = ()
    """Measure these groups only; what is there of the others is shown too."""
    repetitions: int = 5
    """Interleaved timings of every entry."""
    publish: bool = False
    """Fill docs/performance.md and figures/benchmark_* from the rows."""
    out: Path = Path("results/benchmarks")
    jobs: int = 1
    """Cases at a time; more than one disturb each other's times."""

    def runs(self) -> list[Run]:
        """Every entry of every case; another machine or version makes it another run."""
        self.check_common()
        whole("--repetitions", self.repetitions, 1)
        machine = environment()
        known = {"python": machine["python"], **versions(MEASURED)}
        common = {
            "scale": "quick" if self.quick else "full",
            "repetitions": self.repetitions,
            "threads": 1,
            "processor": machine["processor"],
            "versions": ", ".join(f"{name} {version}" for name, version in known.items()),
        }
        digest, folder = self.digest(), self.store()
        runs = [Run({**spec, **common}, digest) for spec in plan.specs(self.quick)]
        wanted = (*self.only, "machine") if self.only else plan.GROUPS
        return [run for run in runs if run.spec["group"] in wanted or folder.read(run)]

    def batches(self, runs: Sequence[Run]) -> list[list[Run]]:
        """A case is one unit of work."""
        return [list(case) for _, case in itertools.groupby(runs, lambda run: run.spec["case"])]

    compute = staticmethod(plan.compute)

    def show(
        self, console: Console, frame: pandas.DataFrame, verdicts: Sequence[Verdict]
    ) -> dict[str, Any]:
        """Print the tables and write table.md."""
        from benchmarks.page import tables

        text = "\n\n".join(tables(frame).values()) + "\n"
        atomic_write(self.out / "table.md", text.encode())
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        return {"title": "Flows and limits against every rival", "printed": text}

    def figures(self, frame: pandas.DataFrame, paths: dict[str, Array]) -> Sequence[Path]:
        """Draw time against error and size; fill the page where it is asked for."""
        from benchmarks.page import publish
        from benchmarks.plots import draw

        files = draw(frame, self.out)
        if self.publish:
            publish(frame, self.out, ROOT)
        return files
