"""Two promises that only CUDA can break: the same bits twice, and a useful word on full memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from gpu_bench.data.batches import check_device
from mirrorflow.results import Row, load_paths

__all__ = ["deterministic", "memory"]

LIMIT = 2**26  # bytes that the second check leaves to torch
BATCH_SIZE = 1024
# in a process of its own: neither the limit nor what is left behind touches another measurement
LIMITED = """
import sys, torch
from gpu_bench import run
if {device!r}.startswith("cuda"):
    known = torch.cuda.get_device_properties({device!r})
    torch.cuda.set_per_process_memory_fraction({limit} / known.total_memory)
sys.exit(run.main({words!r}))
"""


def deterministic(device: str, flags: Sequence[str]) -> Row:
    """Train one network twice with --deterministic, in two processes.

    Returns
    -------
    dict
        `same`: whether all curves and all weights have the same bits; `differing`: names of those
        that have not; `seconds` per epoch of the second time.
    """
    check_device(device)
    words = ["one-shot", "--methods", "pilot", "--seeds", "1", "--deterministic", "--jobs", "1"]
    words += ["--sparsities", "0.9", "--device", device, *flags]
    found = []
    with tempfile.TemporaryDirectory() as place:
        for name in ("once", "twice"):
            out = Path(place) / name
            done = _python("-m", "gpu_bench.run", *words, "--out", str(out))
            if done.returncode:
                raise RuntimeError(done.stderr[-2000:])
            found.append(_contents(out))
    once, twice = found
    differing = [name for name in once if not np.array_equal(once[name], twice[name])]
    return {"same": not differing and once.keys() == twice.keys(), "differing": differing}


def _contents(out: Path) -> dict[str, np.ndarray]:
    """Return curves and weights, without what tells the time."""
    arrays = {
        name.partition("/")[2]: array
        for name, array in load_paths(out / "paths.npz").items()
        if not name.endswith("per_second")
    }
    (weights,) = (p for p in (out / "weights").glob("*.pt") if "-mask-" not in p.name)
    state = torch.load(weights, weights_only=True, map_location="cpu")
    return arrays | {name: tensor.numpy() for name, tensor in state.items()}


def memory(device: str) -> Row:
    """Let a run ask for more memory than it may have.

    Returns
    -------
    dict
        `named`: whether it ended with exit code 2 and one sentence that names the batch size and
        a smaller one; None on a CPU, where torch knows no limit. `message`: what it said.
    """
    if check_device(device).type != "cuda":
        return {"named": None, "message": "not asked: there is no memory of a GPU to fill"}
    with tempfile.TemporaryDirectory() as out:
        words = ["one-shot", "--methods", "dense", "--seeds", "1", "--epochs", "1", "--jobs", "1"]
        words += ["--batch-size", str(BATCH_SIZE), "--device", device, "--out", out]
        done = _python("-c", LIMITED.format(device=device, limit=LIMIT, words=words))
    return {"named": names_the_batch(done.returncode, done.stderr), "message": done.stderr[-2000:]}


def names_the_batch(code: int, message: str) -> bool:
    """Say whether exit code and message are those of a refusal that helps."""
    sentence = message.strip().splitlines()[-1] if message.strip() else ""
    return (
        code == 2
        and "Traceback" not in message
        and f"--batch-size {BATCH_SIZE} does not fit" in sentence
        and f"--batch-size {BATCH_SIZE // 2}" in sentence
    )


def _python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
