"""Study: what m ⊙ w costs, and how fast the trainer is, as ratios within one run.

    python -m benchmarks.run vision                                # on a CPU some ten minutes
    python -m benchmarks.run vision --data-root data               # real CIFAR-10 (cifar10.npz …)
    python -m benchmarks.run vision --device cuda --workers 8

Three parts (--parts), ResNet-20 on digits (batch 128) and on CIFAR-10 (batch 256; without
--data-root random images of its shape, and the table says so):

steps    a training step of every method against the dense one
epochs   an epoch, evaluation included, of gpu_bench's Trainer against a plain PyTorch loop
         (DataLoader with augmentation image by image, eager, float32); on CUDA captured and eager
         steps, bfloat16 and float32, and peak memory
updates  m ⊙ w by the chain rule, as the methods do it, against torch's parametrize, which
         materialises m ⊙ w inside autograd

The entries of a part take turns within each repetition, and a ratio is between times of one
repetition: a busy moment hits all alike. Tables give the median [least, most] over repetitions; a
step's time is the fastest of a repetition. On a CPU with one thread and no workers the times are
processor time, so that other programs stay out, else wall clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch

from benchmarks import vision_parts
from benchmarks.page import markdown, three
from benchmarks.vision_parts import COLUMNS, make_setting
from gpu_bench import methods
from gpu_bench.data.batches import check_device
from mirrorflow.checks import whole
from mirrorflow.runs.flags import described
from mirrorflow.runs.store import Run, atomic_write, environment
from mirrorflow.runs.study import Study, Verdict

if TYPE_CHECKING:
    import pandas
    from rich.console import Console


@dataclass(frozen=True)
class Vision(Study, name="vision", about="what m ⊙ w costs in training, and the trainer's speed"):
    """Time steps of the methods, epochs of the trainer and two ways to update m ⊙ w."""

    parts: tuple[Literal["steps", "epochs", "updates"], ...] = ("steps", "epochs", "updates")
    """What is timed."""
    settings: tuple[Literal["digits", "cifar10"], ...] = ("digits", "cifar10")
    """On which images."""
    methods: Annotated[tuple[str, ...], described("all")] = tuple(methods.METHODS)
    """Methods of the part steps."""
    device: Annotated[str, described("cuda if there is one")] = "auto"
    """cpu, cuda or cuda:N."""
    data_root: Path | None = None
    """Folder with CIFAR-10, as gpu_bench.run reads it."""
    steps: Annotated[int | None, described("20 on digits, 4 on CIFAR-10; on CUDA 100")] = None
    """Timed steps of a repetition, and on a CPU the batches of a CIFAR-10 epoch."""
    repeats: int = 5
    """Repetitions."""
    threads: int = 1
    """CPU threads of torch."""
    workers: int = 0
    """DataLoader workers of the plain loop."""
    out: Path = Path("results/vision")
    jobs: int = 1
    """Parts at a time; more than one disturb each other's times."""

    lists: ClassVar[Mapping[str, str]] = {f"{name}_of_entries": name for name in COLUMNS}

    def runs(self) -> list[Run]:
        """A run for each part and setting; raises InputError where a value breaks its rule."""
        self.check_common()
        for flag, low in (("repeats", 1), ("threads", 1), ("workers", 0)):
            whole(f"--{flag}", getattr(self, flag), low)
        if self.steps is not None:
            whole("--steps", self.steps, 1)
        for name in self.methods:
            methods.find(name)  # refuses unknown names
        cuda = torch.cuda.is_available()
        device = check_device(("cpu", "cuda")[cuda] if self.device == "auto" else self.device)
        for name in self.settings:  # missing data are said before the first is measured
            make_setting(name, self, device)
        spec = {
            "methods": " ".join(self.methods),
            "device": str(device),
            "data_root": None if self.data_root is None else str(self.data_root),
            **{name: getattr(self, name) for name in ("steps", "repeats", "threads", "workers")},
            "machine": environment()["processor"],
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        }
        parts = [(setting, part) for setting in self.settings for part in self.parts]
        digest = self.digest()
        return [Run({"setting": name, "part": part, **spec}, digest) for name, part in parts]

    compute = staticmethod(vision_parts.compute)

    def show(
        self, console: Console, frame: pandas.DataFrame, verdicts: Sequence[Verdict]
    ) -> dict[str, Any]:
        """Print the tables and write table.md."""
        text = table(frame)
        atomic_write(self.out / "table.md", text.encode())
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        return {"title": "Cost of m ⊙ w and speed of the trainer", "printed": text}


def table(frame: pandas.DataFrame) -> str:
    """The rows in Markdown, a table for each part and setting."""
    sections = []
    for _, rows in frame.groupby("key", sort=False):
        first = rows.iloc[0]
        epochs = first["part"] == "epochs"
        what = f"epochs of {first['train_images']:,.0f} + {first['test_images']:,.0f} images"
        title = f"{first['part']}: ResNet-20, {first['setting']} ({first['images']}), batch "
        title += f"{first['batch_size']}; {what if epochs else first['mode']}"
        title += f"; {first['clock']} time"
        if first["part"] == "updates":
            title += f"; the two ways differ by {first['difference']:.0e} after 5 steps"
        more = " | training images/s | peak MiB" if epochs else ""
        lines = []
        for _, row in rows.iterrows():
            own = row["entry"] == row["base"]
            time = three(row, "seconds", 3) if epochs else three(row, "seconds", 2, 1e3)
            cells = [row["entry"], time, "1" if own else three(row, "ratio", 3)]
            cells.append("itself" if own else row["base"])
            if epochs:
                peak = row["peak_mebibytes"]
                cells += [
                    three(row, "rate", 0),
                    f"{peak:,.0f}" if row.notna()["peak_mebibytes"] else "–",
                ]
            lines.append(cells)
        header = f" | {'s per epoch' if epochs else 'ms per step'} | ratio | to{more}"
        sections.append(f"**{title}**\n\n{markdown(header, lines)}")
    return "\n\n".join(sections) + "\n"
