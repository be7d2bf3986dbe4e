"""Published top-1 accuracies (the last epoch's), to stand beside one's own.

ResNet-50 on ImageNet: Jacobs & Burkholz 2025 (90 epochs; STR as re-run by the same group);
SCULPT-ing and LRR: Gadhikar, Nelaturu & Burkholz 2024. ResNet-20 on CIFAR-10: 200 epochs with
batches of 128 for the dense network; random masks at initialisation.
"""

from __future__ import annotations

from typing import NamedTuple

from gpu_bench.sparsities import near

__all__ = ["POINTS", "UNCUT", "Point", "at", "sentences"]


class Point(NamedTuple):
    """One published number."""

    name: str
    sparsity: float
    accuracy: str  # in percent, with the digits that were printed
    epochs: int | None = None  # of all trainings together


def _points(name: str, epochs: int | None, accuracies: dict[float, str]) -> tuple[Point, ...]:
    return tuple(Point(name, zeros, accuracy, epochs) for zeros, accuracy in accuracies.items())


UNCUT = {("imagenet", "resnet50"): "76.7–77.0", ("cifar10", "resnet20"): "91.73"}

POINTS: dict[tuple[str, str], tuple[Point, ...]] = {
    ("imagenet", "resnet50"): (
        *_points("pilot", 90, {0.8: "75.62", 0.9: "74.73", 0.95: "71.30"}),
        *_points("spred", 90, {0.8: "72.64", 0.9: "71.84", 0.95: "69.47"}),
        *_points("str", 90, {0.8: "75.49", 0.9: "72.40", 0.95: "64.94"}),
        Point("SCULPT", 0.9, "≈75.5", 450),
        Point("LRR", 0.9, "as SCULPT", 900),
    ),
    ("cifar10", "resnet20"): _points(
        "random masks", None, {0.8: "88.25", 0.9: "86.25", 0.95: "83.56"}
    ),
}


def at(dataset: str, model: str, sparsity: float) -> list[Point]:
    """Return the numbers published for a sparsity near this one."""
    points = POINTS.get((dataset, model), ())
    return [point for point in points if near(point.sparsity, sparsity)]


def sentences(dataset: str, model: str) -> str:
    """Return all that is published for the setting in a paragraph; empty without any."""
    if (dataset, model) not in POINTS:
        return ""
    by_name: dict[str, list[str]] = {}
    for point in POINTS[dataset, model]:
        epochs = f" ({point.epochs} epochs)" if point.epochs else ""
        by_name.setdefault(point.name, []).append(
            f"{point.accuracy} at {100 * point.sparsity:g} %{epochs}"
        )
    words = [f"{name} {', '.join(numbers)}" for name, numbers in by_name.items()]
    return f"Published, in %: dense {UNCUT[dataset, model]}; {'; '.join(words)}."
