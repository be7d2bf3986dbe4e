"""What a sitting is to do: its flags, and the runs of the grid in order of value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpu_bench import masks
from gpu_bench.settings.flags import flag_of, owners, worded
from gpu_bench.sparsities import SHOWN

__all__ = ["Part", "Plan", "parts"]

# Settings of the PILoT paper (Jacobs & Burkholz 2025) that are no defaults: α and λ from its grids,
# the controller's δ and K. α = 1e-4 at η = 0.2 over 150 epochs is A ≈ 3.
PAPER = {"alpha_initial": "1e-4", "l1": "1e-4", "delta": "1.01", "threshold": "8000"}
TOTALS = (0.5, 1.0, 2.0, 4.0, 8.0)
# the paper's levels, and those of the table exactly
SPARSITIES = ("--sparsities", *(f"{s:.6g}" for s in sorted({*masks.SPARSITIES, *SHOWN})))


@dataclass(frozen=True, slots=True)
class Plan:
    """The flags of a sitting; see `python -m benchmarks.gpu --help`."""

    device: str
    dataset: str
    data_root: Path | None
    out: Path
    epochs: int
    tune_epochs: int
    budget: int
    seeds: int
    methods: tuple[str, ...]

    @property
    def tuned(self) -> Path:
        """Where the tuning leaves each method's best setting."""
        return self.out / "tune" / "tuned.json"

    def among(self, *names: str) -> tuple[str, ...]:
        """Return those of the methods `names` that were asked for."""
        return tuple(n for n in names if self.methods == ("all",) or n in self.methods)

    @property
    def common(self) -> list[str]:
        """The flags of `gpu_bench.run` that all parts share."""
        root = [] if self.data_root is None else ["--data-root", str(self.data_root)]
        return ["--device", self.device, "--dataset", self.dataset, *root]


@dataclass(frozen=True, slots=True)
class Part:
    """Commands of one protocol whose runs go to one folder.

    Attributes
    ----------
    name : str
        Of the part and of its folder.
    protocol : str
    commands : tuple of tuple of str
        Flags of `python -m gpu_bench.run PROTOCOL`.
    needs : str, optional
        The part that must be complete before.
    weight : float
        Seconds per epoch, in those of the model that the concurrency was measured with.
    """

    name: str
    protocol: str
    commands: tuple[tuple[str, ...], ...]
    needs: str | None = None
    weight: float = 1.0


def parts(plan: Plan) -> list[Part]:
    """Return the grid, what says most for its time first.

    A part has those of its methods that were asked for, and is left out where none was.

    paper      every method at the paper's settings, one seed; the other seeds come last
    tune       every method's settings on held-out images, with fewer epochs
    tuned      every method at its best setting, all seeds: the table and the verdicts
    balanced   PILoT from the balanced start, the paper's ablation
    totals     PILoT and spred over A
    lrr, cyclic, sculpt
               the protocols in cycles, dense and PILoT
    resnet18   three methods on the larger network, one seed
    """
    epochs = ("--epochs", str(plan.epochs), *SPARSITIES)
    short = ("--epochs", str(max(plan.epochs // 5, 1)))
    one, seeds = ("--seeds", "1"), ("--seeds", str(plan.seeds))
    tries = ("--epochs", str(plan.tune_epochs), "--budget", str(plan.budget))
    tuned, balanced = ("--tuned", str(plan.tuned)), ("--init", "balanced")
    cut = ("--sparsities", "0.9", "0.95")
    resnet18 = ("--model", "resnet18", *short, *SPARSITIES)
    paper: list[str] = []
    for option, value in PAPER.items():
        if plan.among(*owners()[option]):
            paper += [worded(flag_of(option)), value]
    every, two = plan.methods, plan.among("dense", "pilot")
    made: list[Part] = []

    def add(
        name: str,
        protocol: str,
        methods: tuple[str, ...],
        *commands: tuple[str, ...],
        needs: str | None = None,
        weight: float = 1.0,
    ) -> None:
        if methods:
            common = (*plan.common, "--methods", *methods)
            flags = tuple((*common, *command) for command in commands)
            made.append(Part(name, protocol, flags, needs, weight))

    add("paper", "one-shot", every, (*epochs, *one, *paper))
    add("tune", "tune", every, tries)
    add("tuned", "one-shot", every, (*epochs, *seeds, *tuned), needs="tune")
    ablation = (*epochs, *seeds, *tuned, *balanced)
    add("balanced", "one-shot", plan.among("pilot"), ablation, needs="tune")
    totals = ((*epochs, *one, "--total", str(total)) for total in TOTALS)
    add("totals", "one-shot", plan.among("pilot", "spred"), *totals)
    add("lrr", "iterative", two, (*short, *one, "--cycles", "12"))
    add("cyclic", "cyclic", two, (*short, *one, *cut))
    add("sculpt", "sculpt", two, (*short, *one, *cut))
    add("paper-seeds", "one-shot", every, (*epochs, *seeds, *paper))
    three = plan.among("dense", "spred", "pilot")
    add("resnet18", "one-shot", three, (*resnet18, *one), weight=8.0)
    return made
