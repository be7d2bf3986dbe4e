"""Catalogue of the published data sets, and how each is usually trained; loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["OFFICIAL", "USUAL", "Official"]


@dataclass(frozen=True, slots=True)
class Official:
    """A published data set: shapes, where torchvision keeps it, how it is usually trained.

    `digests` are the SHA-256 of training images and labels, then of the test's: of the bytes in C
    order, all uint8, images (N, H, W, C), labels (N,).
    """

    classes: int
    counts: tuple[int, int]  # of training and of test images
    shape: tuple[int, int, int]
    torchvision: str  # class in torchvision.datasets
    folder: str  # what that class makes under its root
    usual: dict[str, Any]  # model, epochs, batch_size and schedule where no flag gives them
    digests: tuple[str, str, str, str]


# fmt: off
OFFICIAL = {
    "fashion-mnist": Official(10, (60000, 10000), (28, 28, 1), "FashionMNIST", "FashionMNIST/raw",
        {"model": "resnet20", "epochs": 30, "batch_size": 128, "schedule": "cosine"}, (
        "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
        "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
        "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
        "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
    )),
    "cifar10": Official(10, (50000, 10000), (32, 32, 3), "CIFAR10", "cifar-10-batches-py",
        {"model": "resnet20", "epochs": 150, "batch_size": 256, "schedule": "cosine"}, (
        "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
        "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    )),
    "cifar100": Official(100, (50000, 10000), (32, 32, 3), "CIFAR100", "cifar-100-python",
        {"model": "resnet18", "epochs": 150, "batch_size": 256, "schedule": "step"}, (
        "4e457917601a66aed021f5fa37957b56c6319557c0a8ed5484de3c390af45430",
        "9f11b9f97aad759ba6df0a33e3218b01d8deaf4ed3a14aa1185d69b9ad7ebcb3",
        "4cb8e5d9309da489bf6b19cc10cd96c3ae6f8daf225380b605aaee4c0d6aee19",
        "4dad7d09c7c97d33f6cb928d705cf4196221316fd6e31bdd978a08ed9103ee0b",
    )),
}
# fmt: on

# PAPER's settings for CIFAR and ImageNet (Jacobs & Burkholz 2025), trials on a validation split for
# the small ones; any other folder of images as imagenet's
USUAL: dict[str, dict[str, Any]] = {
    "digits": {"model": "resnet20", "epochs": 30, "batch_size": 128, "schedule": "cosine"},
    "imagenet": {"model": "resnet50", "epochs": 90, "batch_size": 512, "schedule": "step"},
    **{name: official.usual for name, official in OFFICIAL.items()},
}
