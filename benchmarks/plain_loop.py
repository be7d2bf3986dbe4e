"""The plain PyTorch training loop that the trainer is measured against.

As tutorials write it: a DataLoader over a data set that augments image by image in Python, eager
float32, torch.optim.SGD, the running loss read after every step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from gpu_bench import data

__all__ = ["PlainImages", "PlainLoop", "sgd", "sgd_step"]

PADDING = 4


class PlainImages(Dataset[tuple[Tensor, int]]):
    """Images (N, C, H, W) uint8, each made ready when it is asked for.

    Scaled to [0, 1]; where `augment`, a random crop out of the image padded by 4 black pixels
    and a flip with probability ½; then (u − mean)/std: what `gpu_bench.data.Batches` does to a
    batch on the device. Offsets and flips come from torch's global generator, which the
    DataLoader seeds in its workers.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        augment: bool,
    ) -> None:
        self.images, self.labels, self.augment = images, labels.tolist(), augment
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index].float().div(255.0)
        if self.augment:
            height, width = image.shape[1:]
            padded = functional.pad(image, [PADDING] * 4)
            top, left = torch.randint(2 * PADDING + 1, (2,)).tolist()
            image = padded[:, top : top + height, left : left + width]
            if torch.rand(()) < 0.5:
                image = image.flip(2)
        return (image - self.mean) / self.std, self.labels[index]


class PlainLoop:
    """Epochs of training and evaluation of one model.

    Parameters
    ----------
    model : nn.Module
        On `device`.
    dataset : gpu_bench.data.Dataset
    batch_size, workers : int
        Of the DataLoaders; images left over at the end of a training epoch are dropped.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: data.Dataset,
        batch_size: int,
        device: torch.device,
        lr: float,
        workers: int = 0,
    ) -> None:
        self.model, self.device = model, device
        self.optimizer = sgd(model, lr)
        train, test = (
            PlainImages(images, labels, dataset.mean, dataset.std, augment)
            for images, labels, augment in (
                (dataset.train_images, dataset.train_labels, dataset.augment),
                (dataset.test_images, dataset.test_labels, False),
            )
        )
        settings: dict[str, Any] = {
            "batch_size": batch_size,
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "pin_memory": device.type == "cuda",
        }
        self.train = DataLoader(train, shuffle=True, drop_last=True, **settings)
        self.test = DataLoader(test, **settings)

    def epoch(self) -> tuple[float, float]:
        """Train one epoch, then evaluate; returns (mean loss, test accuracy)."""
        self.model.train()
        loss = 0.0
        for images, labels in self.train:
            images, labels = self._moved(images, labels)
            loss += sgd_step(self.model, self.optimizer, images, labels).item()
        self.model.eval()
        hits = 0
        with torch.no_grad():
            for images, labels in self.test:
                images, labels = self._moved(images, labels)
                hits += int((self.model(images).argmax(1) == labels).sum())
        return loss / len(self.train), hits / len(self.test.dataset)  # type: ignore[arg-type]

    def _moved(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return (
            images.to(self.device, non_blocking=True),
            labels.to(self.device, non_blocking=True),
        )


def sgd(model: nn.Module, lr: float) -> torch.optim.SGD:
    """SGD with momentum 0.9 and weight decay 1e-4 on everything."""
    return torch.optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=1e-4)


def sgd_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> Tensor:
    """Take one step; returns the loss."""
    optimizer.zero_grad(set_to_none=True)
    loss = functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.detach()
