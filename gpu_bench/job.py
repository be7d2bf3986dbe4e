"""Job of a vision grid: how its runs are computed, on one rank or several."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_bench import data, models
from gpu_bench.checkpoints import Checkpoints
from gpu_bench.data.batches import check_batch_size
from gpu_bench.data.shards import Shard
from gpu_bench.data.sources import count
from gpu_bench.experiment import Place, load_data
from gpu_bench.memory import is_full
from gpu_bench.ranks import Ranks
from mirrorflow.checks import InputError
from mirrorflow.extras import require
from mirrorflow.runs.progress import note
from mirrorflow.runs.store import Row, Run
from mirrorflow.runs.study import Result, Work

if TYPE_CHECKING:
    from gpu_bench.methods import Method
    from gpu_bench.protocols.base import Protocol
    from gpu_bench.settings import Setting

__all__ = ["Job"]


@dataclasses.dataclass(frozen=True)
class Job(Work):
    """The computing of a protocol's runs, one at a time.

    Attributes
    ----------
    protocol : Protocol
        Computes a run.
    methods : tuple
        Classes; with them a worker loads the files that they are in.
    place : Place
        Where data, networks and checkpoints are.
    ranks : Ranks
        The processes that compute each run together.
    """

    protocol: Protocol
    methods: tuple[type[Method], ...]
    place: Place
    ranks: Ranks

    @classmethod
    def of(cls, setting: Setting, runs: Sequence[Run]) -> Job:
        """Join the ranks and look at the data: what is missing is said before the first run.

        Raises
        ------
        InputError
            If data or devices are missing, a batch is larger than the data, another's model is no
            network to prune, or a method asks more of the steps than they can do.
        """
        if setting.tensorboard:
            require("--tensorboard", "tensorboard")
        spec, place = runs[0].spec, setting.place()
        ranks = Ranks.join(spec["device"])
        if setting.download and ranks.first:
            data.load(setting.dataset, place.data_root, download=True)
        ranks.barrier()
        images = load_data(spec, place)
        check_batch_size(spec["batch_size"], count(images), images.name)
        Shard(0, ranks.size).size(spec["batch_size"])
        if spec["model_source"] is not None:  # another's: what it is shows when it is built
            models.build(spec["model"], images.shape, images.classes, spec["seed"])
        rates = setting.rates()
        for kind in setting.chosen:
            setting.method(kind).check_steps(rates, spec["momentum"])
        return cls(type(setting), setting.module().PROTOCOL, setting.chosen, place, ranks)

    @property
    def first(self) -> bool:  # type: ignore[override]
        return self.ranks.first

    @property
    def together(self) -> bool:  # type: ignore[override]
        return self.ranks.size > 1

    @property
    def notes(self) -> Path:  # type: ignore[override]
        return self.place.out / "progress"

    def agree(self, text: str) -> None:
        self.ranks.agree(text)

    def close(self) -> None:
        self.ranks.leave()

    def clear(self, run: Run) -> None:
        Checkpoints(self.place.out / "checkpoints", run.key).clear()

    def __call__(self, runs: Sequence[Run]) -> list[Result]:
        (run,) = runs
        epochs = run.spec["epochs"] * run.spec.get("cycles", 1)
        boards = self.place.tensorboard if self.first else None
        with warnings.catch_warnings(), _scalars(boards, run) as write:
            warnings.simplefilter("ignore")  # said once, when the grid was set up

            def tell(epoch: Any) -> None:
                record = dataclasses.asdict(epoch)
                if self.first:
                    number, title = record["number"], _title(run.spec)
                    note(self.notes, run.key, title, number, epochs, _words(record))
                write(record)

            try:
                return [self.protocol.compute(run, self.place, self.ranks, tell)]
            except Exception as error:
                if is_full(error):
                    size, device = run.spec["batch_size"], run.spec["device"]
                    raise InputError(
                        f"--batch-size {size} does not fit into the memory of {device}; try "
                        f"--batch-size {max(size // 2, 1)}."
                    ) from None
                raise


def _title(spec: Row) -> str:
    """What tells a run from the others, as far as the board has room."""
    words = [spec["method"], spec.get("variant"), spec.get("mask")]
    if spec.get("target_sparsity") is not None:
        words.append(f"{spec['target_sparsity']:g}")
    return " ".join([*(word for word in words if word), f"seed {spec['seed']}"])


@contextlib.contextmanager
def _scalars(folder: Path | None, run: Run) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that writes an epoch's record for TensorBoard, where a folder is named."""
    if folder is None:
        yield lambda _: None
        return
    from torch.utils.tensorboard import SummaryWriter

    name = f"{run.spec['method']}-seed{run.spec['seed']}-{run.key[:8]}"
    with SummaryWriter(str(folder / name)) as writer:

        def write(record: dict[str, Any]) -> None:
            for key, value in record.items():
                if key != "number":
                    writer.add_scalar(key, value, record["number"])
            writer.flush()

        yield write


def _words(epoch: Mapping[str, Any]) -> str:
    return (
        f"{epoch['images_per_second']:,.0f} images/s  accuracy {epoch['accuracy']:.3f}"
        f" → {epoch['test_accuracy']:.3f}  loss {epoch['loss']:.3f}  α {epoch['alpha']:.2e}"
        f"  A {epoch['total']:.2f}  ‖x‖₁ {epoch['norm']:.0f}"
    )
