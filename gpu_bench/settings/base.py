"""Flags that every protocol has, their checks, and the runs that follow from them."""

from __future__ import annotations

import dataclasses
import importlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from gpu_bench.catalogue import USUAL
from gpu_bench.settings.methods import Chosen
from gpu_bench.units import UNITS
from mirrorflow.checks import Array, InputError, number, whole
from mirrorflow.runs.store import Folder, Row, Run, code_digest
from mirrorflow.runs.study import Verdict, described

if TYPE_CHECKING:
    import pandas
    from rich.console import Console

    from gpu_bench.experiment import Place
    from gpu_bench.job import Job
    from gpu_bench.methods import Method

__all__ = ["Setting"]

WIDTH = 120  # characters of the table that the manifest keeps


@dataclass(frozen=True)
class Setting(Chosen):
    """What one command asks for."""

    kept: ClassVar[str] = "finished runs and the epochs of the others are kept"
    files: ClassVar[tuple[str, ...]] = (*Chosen.files, "weights/")
    units: ClassVar[Mapping[str, str]] = UNITS
    groups: ClassVar[Mapping[str, str]] = {
        "dataset": "training",
        "validation": "data",
        "device": "device",
        "workers": "execution",
    }
    protocol: ClassVar[str]  # module in gpu_bench/protocols
    schedules: ClassVar[dict[str, str]] = {}  # where a protocol's differ from the usual

    dataset: str = "digits"
    """digits (bundled), fashion-mnist, cifar10, cifar100, imagenet; or folder:NAME, the images in
    --data-root/NAME/train/CLASS and …/val/CLASS."""
    model: Annotated[
        str | None, described("resnet20; resnet18 of cifar100, resnet50 of imagenet")
    ] = None
    """resnet20 (0.27 M weights), resnet20-s2 (a quarter of its work), resnet8, resnet18, resnet50;
    torchvision:NAME, timm:NAME, or MODULE:FUNCTION, which is called with (C, H, W) and classes."""
    seeds: int = 3
    """Number of seeds (0, 1, …), each with its own initial weights and order of images."""

    epochs: Annotated[
        int | None, described("30; 150 of CIFAR, 90 of imagenet", "--epochs-per-cycle")
    ] = None
    """T: passes over the training images, in each cycle."""
    batch_size: Annotated[int | None, described("128; 256 of CIFAR, 512 of imagenet")] = None
    """Images per step, over all ranks."""
    schedule: Annotated[
        Literal["cosine", "step", "constant"] | None,
        described("cosine; step of cifar100, imagenet and iterative pruning of CIFAR"),
    ] = None
    """Shape of the learning rate after the warm-up; step falls to a tenth at T/2 and at 3T/4."""
    warmup: Annotated[float | None, described("T/30; T/9 of imagenet")] = None
    """Epochs of linear warm-up."""
    ledger: bool = False
    """Follow m² − w² of pilot and spred: is the run what the theory is about, and how much of
    each layer's sparsity is decay, how much step size and gradient noise; a tenth more time."""

    validation: float = 0.0
    """Fraction of the training images held out and read instead of the test images: to choose
    hyperparameters; 0 reads the test images."""
    data_root: Path | None = None
    """Folder with the official files or the array cache (cifar10.npz …)."""
    download: bool = False
    """Fetch the official files into --data-root."""
    image_size: Annotated[int | None, described("224")] = None
    """Side of the square crops of imagenet and of folders."""

    device: Annotated[str, described("cuda if there is one")] = "auto"
    """cpu, cuda or cuda:N."""
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float64"],
        described("bfloat16 on CUDA; on a CPU measured, float32 or bfloat16"),
    ] = "auto"
    """Of forward and backward; weights and updates are float32, with float64 they are float64.
    What is measured on a CPU is kept in OUT/fastest.json, and decides for all runs there."""
    layout: Annotated[
        Literal["auto", "contiguous", "channels-last"],
        described("channels-last on CUDA; on a CPU measured"),
    ] = "auto"
    """Memory format of images and convolutions."""
    batch_norm: Literal["local", "synced"] = "local"
    """Under torchrun: each rank normalises with its own part of a batch and the statistics kept
    are the ranks' mean; or with the whole batch, as one process would."""
    capture: bool = True
    """Whether each training step, on CUDA and one rank, is replayed as a CUDA graph."""
    deterministic: bool = False
    """On CUDA: only kernels that give the same bits twice (slower)."""
    threads: int = 1
    """CPU threads per process; part of what a seed's numbers depend on."""

    out: Path = Path("results/gpu_bench")
    """Folder for rows.parquet, paths.npz, weights/, figures and manifest.json; finished runs
    found there are not repeated, and broken off ones go on from their last epoch."""
    jobs: Annotated[int, described("cores / threads; on CUDA and under torchrun 1")] = 0
    """Runs at a time, each in a process of its own."""
    scheduler: str | None = None
    """A running cluster instead: tcp://HOST:PORT of a Dask scheduler; or slurm?OPTION=VALUE&… with
    options of submitit. It must see --out and the data where this machine does."""
    workers: Annotated[int | None, described("cores − 1, shared by runs and ranks")] = None
    """Processes that decode the images of folders, for each run and rank."""
    force: bool = False
    """Repeat finished runs."""
    tensorboard: bool = False
    """Also write TensorBoard scalars into OUT/tensorboard."""

    def runs(self) -> list[Run]:
        """Return every run; raises InputError where a value breaks its rule."""
        self.check()
        return self.made({kind: list(self.settings(kind)) for kind in self.chosen})

    def made(self, settings: Mapping[type[Method], Sequence[Mapping[str, float]]]) -> list[Run]:
        """Return the runs of these settings of methods, for every seed and variant."""
        common, module = self._common(), self.module().__name__
        digests = {kind: code_digest(module, kind.__module__) for kind in settings}
        runs = []
        for seed in range(self.seeds):
            for variant in self.variants():
                for kind, tried in settings.items():
                    for setting in tried:
                        given = {**self.options_of(kind), **setting}
                        # an option of another method must not make this run another one
                        spec = {kind.column(option): value for option, value in given.items()}
                        named = {"method": kind.name, "seed": seed}
                        named["ledger"] = self.ledger and kind.decayed
                        runs.append(Run({**common, **variant, **spec, **named}, digests[kind]))
        return runs

    def rates(self) -> Array:
        """Return η of every step of a run, at peak 1, from the number of training images.

        Empty where a batch is larger than that; `Job.of` refuses it.
        """
        from gpu_bench.data.sources import count, training_images
        from gpu_bench.experiment import load_data
        from gpu_bench.rates import learning_rates

        spec = self._common()
        images = training_images(self.dataset)
        if images is None:
            images = count(load_data(spec, self.place()))
        else:  # known, and perhaps not on disk yet
            images -= round(self.validation * images)
        steps = images // spec["batch_size"]
        return learning_rates(1.0, spec["schedule"], spec["epochs"], steps, spec["warmup"])

    def variants(self) -> Iterator[Row]:
        """Yield what the protocol adds to a run's configuration, once for each of its variants."""
        raise NotImplementedError

    def _common(self) -> Row:
        from gpu_bench import models

        device = self._device()
        cuda = device.startswith("cuda")
        half = "bfloat16" if cuda else "float32"
        epochs = self.usual("epochs")
        warmup = epochs / (9 if self._folder else 30)
        plain = ["dataset", "validation", "batch_norm", "deterministic", "threads"]
        return {
            "protocol": self.name,
            **{name: self.usual(name) for name in ("model", "epochs", "batch_size", "schedule")},
            **{name: getattr(self, name) for name in plain},
            "image_size": self._image_size if self._folder else None,
            "model_source": models.source(self.usual("model")),
            "validation_seed": 0,
            "warmup": warmup if self.warmup is None else self.warmup,
            "device": device,
            "precision": half if self.precision == "auto" else self.precision,
            "channels_last": cuda if self.layout == "auto" else self.layout == "channels-last",
            "ranks": ranks(),
            "capture": self.capture and cuda,
        }

    def usual(self, name: str) -> Any:
        """Return a flag's value, or what is usual for the data set."""
        value = getattr(self, name)
        if value is None and name == "schedule":
            value = self.schedules.get(self.dataset)
        return USUAL.get(self.dataset, USUAL["imagenet"])[name] if value is None else value

    @property
    def _folder(self) -> bool:
        from gpu_bench.data.sources import is_folder

        return is_folder(self.dataset)

    @property
    def _image_size(self) -> int:
        return 224 if self.image_size is None else self.image_size

    def _device(self) -> str:
        import torch

        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        from gpu_bench.data.batches import check_device

        return str(check_device(self.device))

    def processes(self) -> int:
        """How many runs are computed at a time."""
        if self.jobs:
            return self.jobs
        if self._device().startswith("cuda") or ranks() > 1:
            return 1
        return max((os.cpu_count() or 1) // self.threads, 1)

    def decoders(self) -> int:
        """How many processes decode image files for each run, on each rank."""
        if self.workers:
            return self.workers
        return max(((os.cpu_count() or 1) - 1) // (self.processes() * ranks()), 1)

    def check(self) -> None:
        """Raise InputError where a value breaks its rule."""
        from gpu_bench import models
        from gpu_bench.data.sources import check_name

        check_name("--dataset", self.dataset)
        models.source(self.usual("model"), "--model")
        whole("--seeds", self.seeds, 1, 10_000)
        whole("--epochs", self.usual("epochs"), 1)
        whole("--batch-size", self.usual("batch_size"), 1)
        whole("--image-size", self._image_size, 8, 4096)
        whole("--jobs", self.jobs, 0, 1024)
        if self.scheduler is not None and ranks() > 1:
            raise InputError("--scheduler must not be given under torchrun, which has its own.")
        whole("--threads", self.threads, 1, 1024)
        whole("--workers", self.workers or 0, 0, 1024)
        number("--warmup", 0.0 if self.warmup is None else self.warmup, 0.0, self.usual("epochs"))
        if not 0.0 <= self.validation < 1.0:
            raise InputError(f"--validation must lie in [0, 1), but it is {self.validation}.")
        super().check()

    def belongings(self) -> Iterator[tuple[str, bool, str]]:
        yield from super().belongings()
        followed = any(kind.decayed for kind in self.chosen)
        yield "ledger", followed, "--methods has pilot or spred"
        own = ":" not in self.usual("model")
        yield "classifier", own, "--model is none of others, which keeps its own"
        for flag in ("image_size", "workers"):
            yield flag, self._folder, "--dataset is imagenet or folder:NAME"
        for flag in ("data_root", "download"):
            yield flag, self.dataset != "digits", "--dataset is not digits, which is bundled"

    @classmethod
    def digest(cls) -> str:
        """Hash of the code that computes numbers: the protocol's module and its imports."""
        return code_digest(cls.module().__name__)

    @classmethod
    def module(cls) -> ModuleType:
        """Return the module of the PROTOCOL."""
        return importlib.import_module(f"gpu_bench.protocols.{cls.protocol}")

    def work(self, runs: Sequence[Run]) -> Job:
        from gpu_bench.job import Job

        return Job.of(self, runs)

    def settled(self) -> Self:
        if "auto" not in (self.precision, self.layout) or self._device() != "cpu" or ranks() > 1:
            return self
        from gpu_bench import fastest

        choice = fastest.choose(self.out, self.runs()[0].spec, self.precision, self.layout)
        return dataclasses.replace(self, **choice._asdict())

    def store(self) -> Folder:
        return Folder(self.out, self.units, self.module().PROTOCOL.columns)

    def place(self) -> Place:
        """Return the paths that the runs read and write."""
        from gpu_bench.experiment import Place

        mask_file: Path | None = getattr(self, "mask_file", None)
        return Place(
            self.out if self.scheduler is None else self.out.resolve(),
            None if self.data_root is None else str(self.data_root),
            self.decoders(),
            None if mask_file is None else str(mask_file),
            self.out / "tensorboard" if self.tensorboard else None,
        )

    def show(
        self, console: Console, frame: pandas.DataFrame, verdicts: Sequence[Verdict]
    ) -> dict[str, Any]:
        """Print the table of accuracies; returns it as text."""
        from rich.console import Console

        from gpu_bench import report

        report.print_table(report.screen(), frame)
        printed = io.StringIO()
        report.print_table(Console(width=WIDTH, file=printed), frame)
        first = frame.iloc[0]
        title = f"{self.name}: {first['dataset']}, {first['model']}"
        return {"title": title, "printed": printed.getvalue()}

    def figures(self, frame: pandas.DataFrame, paths: dict[str, Array]) -> Sequence[Path]:
        from gpu_bench import report

        return report.figures(self.out, frame, paths)


def ranks() -> int:
    """Return how many processes share each run: torchrun's, or 1."""
    return int(os.environ.get("WORLD_SIZE", "1"))
