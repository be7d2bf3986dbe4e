"""Choice of precision and memory format on a CPU: the fastest, by half a second of training steps.

It is made once for a folder of results and written into it: a command that goes on, or another
that adds runs there, finds it, so that a run's name never depends on a measurement's noise, and
all rows of a folder are computed the same way, wherever they are. A choice is a value of the run's
configuration, like one that was typed.
"""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

from gpu_bench import models
from gpu_bench.data.sources import shape_of
from gpu_bench.memory import keep_memory
from mirrorflow.checks import InputError
from mirrorflow.runs.store import Row, atomic_write
from mirrorflow.runs.untrusted import file_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["FILE", "Choice", "choose", "seconds_per_step"]

FILE = "fastest.json"
LARGEST = 2**20  # bytes of the file
SECONDS = 0.5  # of measuring
STEP = 0.05  # seconds of a step that is long enough to be like those of a run
GAIN = 0.9  # of the time of the first; what saves less is left out, so that noise seldom decides


class Choice(NamedTuple):
    """One way to run a training step, by the values of the flags."""

    precision: str
    layout: str


def choose(folder: Path, spec: Row, precision: str, layout: str) -> Choice:
    """Return the choice that the folder has for such runs, or measure, and write it there.

    Measured are the model, data set, batch size and threads of a run's configuration `spec`; what
    is chosen are the flags that are "auto". A file that holds no such choice is an InputError.
    """
    pairs = itertools.product(
        ("float32", "bfloat16") if precision == "auto" else (precision,),
        ("contiguous", "channels-last") if layout == "auto" else (layout,),
    )
    choices = [Choice(*pair) for pair in pairs]
    names = ("model", "dataset", "image_size", "batch_size", "threads")
    asked = " ".join([*(str(spec[name]) for name in names), precision, layout])
    path = folder / FILE
    known = _read(path)
    if asked not in known:
        shape = shape_of(spec["dataset"], spec["image_size"])
        seconds = seconds_per_step(
            spec["model"], shape, spec["batch_size"], spec["threads"], choices
        )
        fastest = min(choices, key=seconds.__getitem__)
        best = fastest if seconds[fastest] <= GAIN * seconds[choices[0]] else choices[0]
        measured = {" ".join(choice): value for choice, value in seconds.items()}
        known[asked] = {**best._asdict(), "seconds_per_step": measured}
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(known, indent=1).encode())
    try:
        chosen = Choice(known[asked]["precision"], known[asked]["layout"])
    except (KeyError, TypeError):
        chosen = None
    if chosen not in choices:
        raise InputError(
            f"{path} must hold a precision and a layout for {asked}, but it holds none; delete it "
            f"to measure anew, or give --precision and --layout."
        )
    return chosen


def seconds_per_step(
    model: str,
    shape: tuple[int, int, int],
    batch_size: int,
    threads: int,
    choices: Sequence[Choice],
) -> dict[Choice, float]:
    """Return the least seconds of a step on random images for each choice; they take turns.

    With one thread it is processor time: other programs stay out. A batch has as many images as
    take the first choice `STEP` seconds, `batch_size` at most.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    keep_memory()
    try:
        size = min(2, batch_size)  # batch norm needs two where one pixel is left
        while size < batch_size and _timed(_step(model, shape, size, choices[0]), clock) < STEP:
            size = min(2 * size, batch_size)
        steps = {choice: _step(model, shape, size, choice) for choice in choices}
        for step in steps.values():  # the first one also prepares
            step()
        seconds = dict.fromkeys(choices, float("inf"))
        end = time.perf_counter() + SECONDS
        while min(seconds.values()) == float("inf") or time.perf_counter() < end:
            for choice, step in steps.items():
                seconds[choice] = min(seconds[choice], _timed(step, clock))
    finally:
        torch.set_num_threads(before)
    return seconds


def _timed(step: Callable[[], None], clock: Callable[[], float]) -> float:
    start = clock()
    step()
    return clock() - start


def _step(name: str, shape: tuple[int, int, int], size: int, choice: Choice) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(0)
    dtype = torch.float64 if choice.precision == "float64" else torch.float32
    half = choice.precision == "bfloat16"
    last = choice.layout == "channels-last"
    layout = torch.channels_last if last else torch.contiguous_format
    model = models.build(name, shape, 10, 0).to(dtype, memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(size, *shape, generator=generator, dtype=dtype)
    images = images.to(torch.bfloat16 if half else dtype, memory_format=layout)
    labels = torch.randint(10, (size,), generator=generator)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half, cache_enabled=False):
            loss = functional.cross_entropy(model(images), labels)
        loss.backward()

    return step


def _read(path: Path) -> Row:
    try:
        if file_size(path) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        known = json.loads(path.read_bytes())
        if not isinstance(known, dict):
            raise ValueError("no object")
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} must be JSON, but it is not ({str(error)[:120]}).") from None
    return known
