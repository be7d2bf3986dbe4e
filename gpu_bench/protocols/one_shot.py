"""One-shot sparsification: train, fold, cut the smallest weights, read the accuracy.

For each requested sparsity the globally smallest |x| among the prunable weights are set to zero
(an exact count) and the accuracy of what is left is read, without further training, on the test
images (or, with `validation` > 0, on a part held out of the training images: that is where
hyperparameters are to be chosen). Always the last epoch's weights, never the best epoch's.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gpu_bench import data, masks, methods, models
from gpu_bench.rates import learning_rates
from gpu_bench.train import Epoch, History, Trainer
from mirrorflow.checks import Array, InputError
from mirrorflow.results import Row, Run, atomic_write

__all__ = ["SHOWN", "compute", "stem"]

SHOWN = (0.8, 0.9, 0.95, 0.98)  # sparsities of the table; their masks are kept on disk
CURVES = ("loss", "accuracy", "test_accuracy", "norm", "alpha", "total", "images_per_second")


def compute(
    run: Run, folder: Path, data_root: str | None, tell: Callable[[Epoch], None] | None = None
) -> tuple[Row, dict[str, Array]]:
    """Train one configuration and read it at every sparsity.

    Returns
    -------
    row : dict
        Scalars of the run, among them `last_accuracy` (the network as it was trained) and
        `uncut_accuracy` (folded: for continuous sparsification another network, its mask is
        hard), and lists over the sparsities: `measured_sparsity`, `accuracy`.
    arrays : dict
        One entry per epoch: `loss`, `accuracy` (running), `test_accuracy`, `norm` (‖x‖₁),
        `alpha`, `total` (A), `images_per_second`; and `layer_density` (sparsities, layers).

    Raises
    ------
    InputError
        If the data are missing or the batch does not fit.
    """
    started, spec = time.perf_counter(), run.spec
    device = torch.device(spec["device"])
    if spec["threads"]:
        torch.set_num_threads(spec["threads"])
    _determinism(spec["deterministic"])
    try:
        row, arrays, found = _run(spec, device, data_root, tell)
    except torch.cuda.OutOfMemoryError:
        size = spec["batch_size"]
        raise InputError(
            f"--batch-size {size} does not fit into the memory of {spec['device']}; try "
            f"--batch-size {max(size // 2, 1)}."
        ) from None
    row["wall_seconds"] = time.perf_counter() - started
    row["files"] = stem(run)
    _save(folder / stem(run), spec, row, found)
    return row, arrays


def stem(run: Run) -> str:
    """Return how the names of a run's files begin."""
    spec = run.spec
    return f"{spec['dataset']}-{spec['model']}-{spec['method']}-seed{spec['seed']}-{run.key[:8]}"


Cuts = dict[float, dict[str, Tensor]]


class Found(NamedTuple):
    """What a run leaves to take home: the folded network, its input's shape, masks to keep."""

    model: nn.Module
    shape: tuple[int, int, int]
    cuts: Cuts


def _run(
    spec: Row, device: torch.device, data_root: str | None, tell: Callable[[Epoch], None] | None
) -> tuple[Row, dict[str, Array], Found]:
    dataset = data.load(spec["dataset"], data_root)
    if spec["validation"]:
        dataset = dataset.split(spec["validation"], spec["validation_seed"])
    half = spec["precision"] == "bfloat16"
    batches = dataset.batches(
        spec["batch_size"],
        spec["seed"],
        device=device,
        dtype=torch.bfloat16 if half else torch.float32,
        channels_last=spec["channels_last"],
    )
    model = models.build(spec["model"], dataset.shape, dataset.classes, spec["seed"])
    layout = torch.channels_last if spec["channels_last"] else torch.contiguous_format
    model = model.to(device, memory_format=layout)  # type: ignore[call-overload]  # torch's stub
    method = methods.build(spec["method"], spec)
    rates = learning_rates(
        spec["lr"], spec["schedule"], spec["epochs"], len(batches), spec["warmup"]
    )
    trainer = Trainer(
        model,
        method,
        rates,
        spec["epochs"],
        spec["momentum"],
        spec["weight_decay"],
        half=half,
        capture=spec["capture"],
    )
    alpha = method.alpha

    def read() -> Tensor:
        return trainer.accuracy(batches.evaluation())

    history = trainer.train(batches, read, tell)
    trainer.fold()
    uncut = float(read()) if history.status == "completed" else math.nan
    sparsities = spec["sparsities"]
    if history.status == "completed":
        measured, accuracies, densities, cuts = _read_all(trainer, read, sparsities)
    else:
        nothing = [math.nan] * len(sparsities)
        measured, accuracies, cuts = nothing, nothing, {}
        densities = np.full((len(sparsities), len(trainer.x.sizes)), math.nan)
    row: Row = {
        "status": history.status,
        "message": history.message,
        "sparsities": sparsities,
        "measured_sparsity": measured,
        "accuracy": accuracies,
        "uncut_accuracy": uncut,
        **_scalars(trainer, history, alpha),
        **_machine(device),
    }
    arrays = {name: np.array([getattr(epoch, name) for epoch in history.epochs]) for name in CURVES}
    arrays["layer_density"] = densities
    return row, arrays, Found(model, dataset.shape, cuts)


def _scalars(trainer: Trainer, history: History, alpha: float | None) -> Row:
    last, method = history.epochs[-1], trainer.method
    beta = method.imbalance
    # the controller's readings and the temperature, as the method names them
    return {
        "last_accuracy": last.test_accuracy,
        "train_accuracy": last.accuracy,
        "train_loss": last.loss,
        "epochs_done": last.number,
        "steps": trainer.steps,
        "rate_sum": trainer.plan.rate_sum,
        "alpha_first": alpha,
        "alpha_last": last.alpha if alpha is not None else None,
        "total_spent": last.total if alpha is not None else None,
        # a = ½βe^{−4A}: where |x| ≫ a the potential is L1, below it is quadratic
        "predicted_scale": None
        if beta is None or alpha is None
        else 0.5 * beta * math.exp(-4.0 * last.total),
        "norm_initial": trainer.initial_norm,
        "norm_final": float(torch.linalg.vector_norm(trainer.x.values, 1)),
        "exact_zeros": float((trainer.x.values == 0).double().mean()),
        "prunable_weights": trainer.x.values.numel(),
        "images_per_second": float(np.median([e.images_per_second for e in history.epochs])),
        **{f"method_{name}": value for name, value in method.readings().items()},
    }


def _read_all(
    trainer: Trainer, read: Callable[[], Tensor], sparsities: list[float]
) -> tuple[list[float], list[float], Array, Cuts]:
    """Return measured sparsity, accuracy and layer densities at each sparsity, and the masks
    of those that the table shows; the model is left as it was."""
    model, x = trainer.model, trainer.x.values
    whole = x.clone()
    shown = {nearest(sparsities, wanted) for wanted in SHOWN}
    cuts: Cuts = {}
    accuracies, measured, densities = [], [], []
    for sparsity in sparsities:
        x.copy_(whole)
        weights = {k: p.detach() for k, p in masks.prunable(model).items()}
        mask = masks.magnitude(weights, sparsity)
        masks.apply(model, mask)
        accuracies.append(read())
        measured.append(1.0 - masks.density(mask))
        densities.append(list(masks.layer_densities(mask).values()))
        if sparsity in shown:
            cuts[sparsity] = mask
    x.copy_(whole)
    return measured, torch.stack(accuracies).tolist(), np.array(densities), cuts


def nearest(sparsities: list[float], wanted: float) -> float:
    """Return the entry next to `wanted`."""
    return min(sparsities, key=lambda sparsity: abs(sparsity - wanted))


def _save(start: Path, spec: Row, row: Row, found: Found) -> None:
    """Write START.pt (folded state_dict), START-mask-S.pt (boolean masks) and START.json."""
    model, shape, cuts = found
    start.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
    stream = io.BytesIO()
    torch.save(state, stream)
    atomic_write(start.with_name(f"{start.name}.pt"), stream.getvalue())
    described: dict[str, Any] = {
        "configuration": spec,
        "status": row["status"],
        "weights": row["prunable_weights"],
        "flops": masks.flops(model, shape),
        "sparsities": {},
    }
    for sparsity, mask in cuts.items():
        masks.save(start.with_name(f"{start.name}-mask-{sparsity:.4f}.pt"), mask)
        described["sparsities"][f"{sparsity:.4f}"] = {
            "measured_sparsity": 1.0 - masks.density(mask),
            "flops": masks.flops(model, shape, mask),
            "layers": {key: 1.0 - d for key, d in masks.layer_densities(mask).items()},
        }
    text = json.dumps(described, indent=1)
    atomic_write(start.with_name(f"{start.name}.json"), text.encode())


def _determinism(wanted: bool) -> None:
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.deterministic = wanted
    torch.backends.cudnn.benchmark = not wanted


def _machine(device: torch.device) -> Row:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {
        "device_name": name,
        "threads_used": torch.get_num_threads(),
        "torch_version": torch.__version__,
    }
