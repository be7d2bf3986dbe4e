"""Experiment: data, network and method of one run, ready to be trained on one rank or several."""

from __future__ import annotations

import functools
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from gpu_bench import data, masks, methods, models
from gpu_bench.flat import Layout
from gpu_bench.memory import keep_memory
from gpu_bench.ranks import Ranks
from gpu_bench.rates import learning_rates
from gpu_bench.train import Trainer, Weights
from mirrorflow.runs.store import Row

__all__ = ["Experiment", "Place", "load_data"]

FRESH_BATCHES = 4  # for the statistics of a reading; more change the accuracy less than a seed


@dataclass(frozen=True, slots=True)
class Place:
    """Paths and options of a run that change none of its numbers."""

    out: Path  # of the results: weights/ and checkpoints/ are made in it
    data_root: str | None = None
    workers: int = 1  # processes that decode image files
    mask_file: str | None = None  # masks to start from (`gpu_bench.masks.save`)
    tensorboard: Path | None = None


def load_data(spec: Row, place: Place) -> data.Dataset | data.ImageFolders:
    """Return the images that a run trains on and is read on; read once for runs in a row."""
    held_out = spec["validation"], spec["validation_seed"]
    return _load(spec["dataset"], place.data_root, spec["image_size"], *held_out)


@functools.lru_cache(maxsize=1)
def _load(
    name: str, root: str | None, image_size: int | None, validation: float, validation_seed: int
) -> data.Dataset | data.ImageFolders:
    images = data.load(name, root, image_size=image_size)
    return images.split(validation, validation_seed) if validation else images


class Experiment:
    """Data, network and settings that the trainings of a run share; `spec` is its configuration.

    Attributes
    ----------
    model : nn.Module
        On the device, with its initial weights.
    layout : Layout
        Of the prunable weights in one vector (N,).
    batches : Batches or FolderBatches

    Raises
    ------
    InputError
        If the data are missing or the batch does not fit.
    """

    def __init__(self, spec: Row, place: Place, ranks: Ranks) -> None:
        self.spec, self.place, self.ranks = spec, place, ranks
        self.device = ranks.device if ranks.size > 1 else torch.device(spec["device"])
        if spec["threads"]:
            torch.set_num_threads(spec["threads"])
        _determinism(spec["deterministic"])
        if self.device.type == "cpu":
            keep_memory()
        images = load_data(spec, place)
        self.half = spec["precision"] == "bfloat16"
        self.shape = images.shape
        folders = isinstance(images, data.ImageFolders)
        kind: Any = data.FolderBatches if folders else data.Batches
        self.batches = kind(
            images,
            spec["batch_size"],
            spec["seed"],
            device=self.device,
            dtype=getattr(torch, spec["precision"]),
            channels_last=spec["channels_last"],
            rank=ranks.rank,
            ranks=ranks.size,
            **({"workers": place.workers} if folders else {}),
        )
        self.images_per_epoch = len(self.batches) * spec["batch_size"]
        size = images.shape, images.classes
        model = models.build(spec["model"], *size, spec["seed"], spec["classifier"])
        if spec["batch_norm"] == "synced":
            model = ranks.synchronise_batch_norm(model)
        for module in model.modules():  # one kernel a layer and step, for a number nobody reads
            if isinstance(module, _BatchNorm) and module.momentum is not None:
                module.num_batches_tracked = None
        layout = torch.channels_last if spec["channels_last"] else torch.contiguous_format
        wide = torch.float64 if spec["precision"] == "float64" else torch.float32
        self.model = model.to(self.device, wide, memory_format=layout)  # type: ignore[call-overload]
        self.layout = Layout(masks.prunable(self.model))
        self._network = ranks.wrap(self.model) if ranks.size > 1 else None

    def trainer(
        self, mask: Tensor | None = None, start: Weights | None = None, cycle: int = 0
    ) -> Trainer:
        """Return a fresh optimizer with a full learning-rate schedule, for one cycle.

        It starts from the weights that the model holds where there is no `start`; `cycle` says how
        many cycles came before: the order of the images goes on.
        """
        spec = self.spec
        epochs = spec["epochs"]
        rates = learning_rates(
            spec["lr"], spec["schedule"], epochs, len(self.batches), spec["warmup"]
        )
        return Trainer(
            self.model,
            methods.build(spec),
            rates,
            epochs,
            spec["momentum"],
            spec["weight_decay"],
            smoothing=spec["label_smoothing"],
            half=self.half,
            capture=spec["capture"],
            mask=mask,
            start=start,
            passed=cycle * epochs,
            ranks=self.ranks,
            network=self._network,
            ledger=spec["ledger"],
        )

    def read(self, trainer: Trainer) -> Tensor:
        """Return the accuracy on the images held out, a 0-d tensor on the device."""
        return trainer.accuracy(self.batches.evaluation())

    def read_fresh(self, trainer: Trainer) -> Tensor:
        """Return that accuracy with batch norm's statistics taken at these weights, then put back.

        From the first batches of epoch 0, which is never trained on: nothing else is drawn.
        """
        trained = [buffer.clone() for buffer in trainer.buffers]
        trainer.refresh(itertools.islice(self.batches.epoch(0), FRESH_BATCHES))
        accuracy = self.read(trainer)
        for buffer, value in zip(trainer.buffers, trained, strict=True):
            buffer.copy_(value)
        return accuracy

    def training_flops(self, mask: Tensor | None) -> float:
        """Multiply-adds of one epoch under a mask: forward once, backward twice as many."""
        views = None if mask is None else self.layout.views(mask)
        forward = masks.flops(self.model, self.shape, views)["masked"]
        return 3.0 * forward * self.images_per_epoch

    def machine(self) -> Row:
        """Return what the numbers were computed on."""
        cuda = self.device.type == "cuda"
        return {
            "device_name": torch.cuda.get_device_name(self.device) if cuda else "CPU",
            "threads_used": torch.get_num_threads(),
            "torch_version": torch.__version__,
            "tf32": cuda and torch.backends.cudnn.allow_tf32,
        }


def _determinism(wanted: bool) -> None:
    """Set what decides about the bits of a result in this process."""
    if wanted:  # cuBLAS reads it once, before its first call
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # torch would fill every new tensor, with a kernel of its own
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # float32 is float32: torch's default has ten bits of mantissa in CUDA's convolutions
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.deterministic = wanted
    torch.backends.cudnn.benchmark = not wanted
