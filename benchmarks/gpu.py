"""Session on a GPU: rates of the device, profile of a step, the trainer's speed, the comparison.

    python -m benchmarks.gpu --data-root data --minutes 9

runs commands one after the other, in order of value: the study below, `benchmarks.run vision`,
then the parts of the grid by `gpu_bench.run`. What is finished stays in --out and is not repeated,
so that the same command goes on where the minutes were over.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mirrorflow.checks import InputError, brief, number, whole
from mirrorflow.extras import TABLES, require
from mirrorflow.runs.cli import command
from mirrorflow.runs.stopping import stoppable
from mirrorflow.runs.store import Row, Run, environment, load
from mirrorflow.runs.study import Result, Study, Summary, Verdict
from mirrorflow.runs.verdicts import print_summary

if TYPE_CHECKING:
    import pandas
    from rich.console import Console

    from benchmarks.vision_parts import Setting

FAREWELL = "\nInterrupted; what is finished is kept. The same command goes on."
REPEATS, CALLS = 3, 10
KERNELS = 12  # of the profile, the longest
# bytes copied and side of the square matrices: far more than the caches hold, short all the same
SIZES = {"cuda": (2**32, 8192), "cpu": (2**26, 1024)}
SPARSITIES = ("--sparsities", "0.5", "0.8", "0.9", "0.95", "0.98", "0.99")
AT_ONCE = (1, 2, 4, 8)  # runs that share the device
Entries = list[tuple[str, float, str]]  # what, value, unit


@dataclass(frozen=True)
class Device(Study, name="gpu", about="rates of a device, and the kernels of a training step"):
    """Measure copies, products and PILoT's training step on random images of CIFAR-10's shape."""

    out: Path = Path("results/gpu/device")
    device: str = "cuda"
    """cuda, cuda:N or cpu."""
    dataset: Literal["cifar10", "digits"] = "cifar10"
    """Whose shape the images have."""

    lists: ClassVar[Mapping[str, str]] = {
        "entries": "entry",
        "values": "value",
        "value_units": "value_unit",
    }

    def runs(self) -> list[Run]:
        import torch

        from gpu_bench.data.batches import check_device

        self.check_common()
        device = check_device(self.device)
        cuda = device.type == "cuda"
        spec = {
            "device": str(device),
            "device_name": torch.cuda.get_device_name(device) if cuda else "CPU",
            "machine": environment()["processor"],
            "torch_version": torch.__version__,
            "dataset": self.dataset,
        }
        return [Run({"part": name, **spec}, self.digest()) for name in MEASURED]

    def processes(self) -> int:
        return 1  # nothing else may use the device

    @staticmethod
    def compute(specs: Sequence[Row]) -> list[Result]:
        import torch

        from benchmarks.vision_parts import make_setting

        torch.set_num_threads(1)
        results: list[Result] = []
        for spec in specs:
            device = torch.device(spec["device"])
            torch.backends.cudnn.benchmark = device.type == "cuda"
            flags = SimpleNamespace(steps=None, data_root=None, threads=1, workers=0)
            setting = make_setting(spec["dataset"], flags, device)
            entries, values, units = zip(*MEASURED[spec["part"]](setting), strict=True)
            lists = {"entries": [*entries], "values": [*values], "value_units": [*units]}
            results.append(({"status": "measured", "message": "", **lists}, {}))
        return results

    def show(
        self, console: Console, frame: pandas.DataFrame, verdicts: Sequence[Verdict]
    ) -> dict[str, Any]:
        first = frame.iloc[0]
        cells = [
            [row["part"], row["entry"], f"{row['value']:.4g}", row["value_unit"]]
            for _, row in frame.iterrows()
        ]
        title = f"{first['device_name']}, torch {first['torch_version']}: {self.dataset}"
        summary = Summary(title, ["measured", "what", "value", "unit"], cells)
        print_summary(console, summary)
        return {"title": title, "summary": summary._asdict()}


def rates(setting: Setting) -> Entries:
    """Best rates on random data: work of b bytes and f flop takes max(b/copy, f/product) s."""
    import torch

    device = setting.device
    count, side = SIZES[device.type]
    source = torch.randint(256, (count,), dtype=torch.uint8, device=device)
    # never zeros: some chips multiply them faster
    left, right = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    target, product = torch.empty_like(source), torch.empty_like(left)

    def best(call: Callable[[], object]) -> float:
        call()
        times = [setting.timed(lambda: [call() for _ in range(CALLS)]) for _ in range(REPEATS)]
        return min(times) / CALLS

    copied = 2.0 * count / best(lambda: target.copy_(source))
    multiplied = 2.0 * side**3 / best(lambda: torch.mm(left, right, out=product))
    return [("copy, read plus written", copied, "B/s"), ("bfloat16 product", multiplied, "flop/s")]


def profiled(setting: Setting) -> Entries:
    """Kernels (on a CPU operators) of PILoT's training step, the longest first."""
    from torch.profiler import profile

    from benchmarks.vision_parts import WARM_UP, Mode

    kind = setting.device.type
    mode = Mode(True, True, True) if kind == "cuda" else Mode()
    advance = setting.step(setting.trainer("pilot", mode), mode)
    for _ in range(WARM_UP):
        advance()
    alone = min(setting.timed(advance) for _ in range(setting.steps))
    with profile() as seen:
        setting.timed(lambda: [advance() for _ in range(setting.steps)])
    # an operator on the host is charged with the kernels that it starts: count those alone
    own = "self_device_time_total" if kind == "cuda" else "self_cpu_time_total"
    kernels = [
        (event.key[:80], event.count / setting.steps, 1e-6 * getattr(event, own) / setting.steps)
        for event in seen.key_averages()
        if event.device_type.name.lower() == kind
    ]
    kernels.sort(key=lambda kernel: -kernel[2])
    return [
        ("step, without the profiler", alone, "s"),
        ("all kernels", sum(kernel[2] for kernel in kernels), "s"),
        ("number of kernels", sum(kernel[1] for kernel in kernels), "1/step"),
        *((key, seconds, "s") for key, _, seconds in kernels[:KERNELS]),
    ]


MEASURED: dict[str, Callable[[Setting], Entries]] = {"device": rates, "profile": profiled}


def stages(given: argparse.Namespace) -> dict[str, list[str]]:
    """The commands by name, what says most for its time first."""
    from gpu_bench import methods

    every = [*methods.METHODS] if given.methods == ["all"] else given.methods
    for name in every:
        methods.find(name)  # refuses unknown names
    root = [] if given.data_root is None else ["--data-root", str(given.data_root)]
    images, device = ["--dataset", given.dataset], ["--device", given.device]
    speed = ["--settings", given.dataset, "--parts", "steps", "epochs", "--workers", "8"]
    full = ["--epochs", str(given.epochs), "--seeds", str(given.seeds), *SPARSITIES]
    fifth = ["--epochs", str(max(given.epochs // 5, 1)), "--seeds", "1"]
    tuned = ["--tuned", str(given.out / "tune" / "tuned.json")]
    two, pilot = ["dense", "pilot"], ["pilot"]
    rows = [
        ("at-once", "one-shot", pilot, ["--epochs", str(min(given.epochs, 20))]),
        ("tune", "tune", every, [*fifth, "--budget", str(given.budget)]),
        ("tuned", "one-shot", every, [*full, *tuned]),
        ("balanced", "one-shot", pilot, [*full, *tuned, "--pilot.beta", "0"]),
        ("plain", "one-shot", two, full),
        ("iterative", "iterative", two, [*fifth, "--variant", "wr", "lrr"]),
        ("sculpt", "sculpt", two, [*fifth, "--sparsities", "0.9", "0.95"]),
    ]
    grid = {
        name: ["gpu_bench.run", protocol, *images, *root, *device, "--methods", *there, *flags]
        for name, protocol, chosen, flags in rows
        if (there := [method for method in chosen if method in every])
    }
    return {
        "device": ["benchmarks.run", "gpu", *images, *device],
        "speed": ["benchmarks.run", "vision", *speed, *device],
        **grid,
    }


def work(given: argparse.Namespace, end: float) -> int:
    """Run the stages until `end`, by the monotonic clock; returns the first exit code that isn't 0.

    The grid has as many runs at once as were the fastest together.
    """
    jobs = 1
    for name, words in stages(given).items():
        out = given.out / name
        if given.stages and name not in given.stages:
            continue
        if words[0] == "gpu_bench.run" and given.dataset != "digits" and given.data_root is None:
            print(f"{name}: waits for --data-root", file=sys.stderr)
        elif name == "at-once":
            speeds = {}
            for count in AT_ONCE:
                flags = ["--seeds", str(count), "--jobs", str(count)]
                if code := _run([*words, *flags, "--out", str(out / str(count))], end):
                    return code
                rows = load(out / str(count)).drop_duplicates("key")
                speeds[count] = float(rows["images_per_second"].sum())
                print(f"{count} runs at once: {speeds[count]:,.0f} images/s together")
            jobs = max(speeds, key=speeds.__getitem__)
        else:
            more = ["--jobs", str(jobs)] if words[0] == "gpu_bench.run" else []
            if code := _run([*words, *more, "--out", str(out)], end):
                return code
    return 0


def _run(words: list[str], end: float) -> int:
    """Run python -m MODULE … until it ends, or SIGTERM at `end`; finished runs are kept."""
    with subprocess.Popen([sys.executable, "-m", *words]) as child:
        try:
            return child.wait(max(end - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            child.terminate()
            return child.wait()
        finally:
            child.kill()


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the commands; returns the first exit code that isn't 0: 143 where the time was over."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    flag = parser.add_argument
    flag("--device", default="cuda", help="cuda, cuda:N, or cpu for a rehearsal (cuda)")
    flag("--minutes", type=float, default=9.0, help="when the commands are stopped (9)")
    flag("--out", type=Path, default=Path("results/gpu"), help="folder (results/gpu)")
    flag("--dataset", choices=("cifar10", "digits"), default="cifar10", help="(cifar10)")
    flag("--data-root", type=Path, help="folder of cifar10.npz; else no grid on it")
    flag("--stages", nargs="+", metavar="STAGE", help="these alone (all, in order of value)")
    flag("--methods", nargs="+", default=["all"], help="of the grid (all)")
    flag("--seeds", type=int, default=3, help="of the grid (3)")
    flag("--epochs", type=int, default=150, help="of the grid (150; a fifth to tune and per cycle)")
    flag("--budget", type=int, default=6, help="settings tried of each method (6)")
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    require("python -m benchmarks.gpu", "torch", *TABLES)
    number("--minutes", given.minutes, 0.0, open_low=True)
    for name in ("seeds", "epochs", "budget"):
        whole(f"--{name}", getattr(given, name), 1)
    known = stages(given)
    for name in given.stages or ():
        if name not in known:
            rule = f"--stages must be among {', '.join(known)}"
            raise InputError(f"{rule}, but {brief(name)} is not.")
    with stoppable(FAREWELL):
        return work(given, time.monotonic() + 60.0 * given.minutes)


if __name__ == "__main__":
    sys.exit(main())
