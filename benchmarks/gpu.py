"""Session on a GPU: what the device and the trainer do in a second, then the comparison grid.

    python -m benchmarks.gpu --data-root data --minutes 9

Each measurement is a run of this study, each part of the grid a command of `gpu_bench.run`. What is
finished stays in --out and is not repeated, so that the same command goes on where the minutes were
over. Measurements use random images of CIFAR-10's shape: times don't depend on the pixels.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mirrorflow.checks import InputError, number, shown, whole
from mirrorflow.extras import TABLES, require
from mirrorflow.runs.cli import command
from mirrorflow.runs.runner import run
from mirrorflow.runs.stopping import stoppable
from mirrorflow.runs.store import Row, Run, load
from mirrorflow.runs.study import Result, Study, Summary, Verdict

if TYPE_CHECKING:
    import pandas
    from rich.console import Console

    from benchmarks.vision_parts import Mode, Setting

FAREWELL = "\nInterrupted; what is finished is kept. The same command goes on."
REPEATS = 3
METHODS = ("dense", "pilot", "spred", "str")  # whose step is timed
KERNELS = 12  # of the profile, the longest
CALLS = 10
# bytes copied and side of the square matrices: far more than the caches hold, short all the same
SIZES = {"cuda": (2**32, 8192), "cpu": (2**26, 1024)}
SPARSITIES = ("--sparsities", "0.5", "0.8", "0.9", "0.95", "0.98", "0.99")
AT_ONCE = (1, 2, 4, 8)  # runs that share the device
Entries = list[tuple[str, float, str]]  # what, value, unit


@dataclass(frozen=True)
class Session(Study, name="gpu", about="measure one GPU and run the comparison on it"):
    """Measure one GPU and run the comparison on it, in order of value, until the time is over."""

    out: Path = Path("results/gpu")
    device: str = "cuda"
    """cuda, cuda:N, or cpu for a rehearsal."""
    dataset: Literal["cifar10", "digits"] = "cifar10"
    """Of the grid and of the measured shapes."""
    data_root: Path | None = None
    """Folder of cifar10.npz; without, CIFAR-10 is not trained on."""
    minutes: float = 9.0
    """When the grid is stopped."""
    stages: tuple[str, ...] = ()
    """These alone; without, all."""
    methods: tuple[str, ...] = ("all",)
    """Methods of the grid."""
    seeds: int = 3
    """Seeds of the grid."""
    epochs: int = 150
    """Epochs of a run of the grid; a fifth to tune and in each cycle."""
    budget: int = 6
    """Settings tried of each method."""

    lists: ClassVar[dict[str, str]] = {
        "entries": "entry",
        "values": "value",
        "value_units": "value_unit",
    }

    def runs(self) -> list[Run]:
        import torch

        number("--minutes", self.minutes, 0.0, open_low=True)
        for flag in ("seeds", "epochs", "budget"):
            whole(f"--{flag}", getattr(self, flag), 1)
        known = [*MEASURED, *self.grid()]
        for name in self.stages:
            if name not in known:
                rule = f"--stages must be among {', '.join(known)}"
                raise InputError(f"{rule}, but {shown(name)} is not.")
        from gpu_bench.data.batches import check_device

        device = check_device(self.device)
        cuda = device.type == "cuda"
        spec = {
            "device": str(device),
            "device_name": torch.cuda.get_device_name(device) if cuda else "CPU",
            "torch_version": torch.__version__,
            "dataset": self.dataset,
        }
        return [Run({"part": name, **spec}, self.digest()) for name in self.asked(MEASURED)]

    def asked(self, names: Sequence[str] | Row) -> list[str]:
        """Those of the stages `names` that the flags ask for."""
        return [name for name in names if name in self.stages or not self.stages]

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
            flags = argparse.Namespace(steps=None, data_root=None, threads=1, workers=0)
            setting = make_setting(spec["dataset"], flags, device)
            entries, values, units = zip(*MEASURED[spec["part"]](setting), strict=True)
            lists = {"entries": [*entries], "values": [*values], "value_units": [*units]}
            results.append(({"status": "completed", "message": "", **lists}, {}))
        return results

    def show(
        self, console: Console, frame: pandas.DataFrame, verdicts: Sequence[Verdict]
    ) -> dict[str, Any]:
        from mirrorflow.runs.verdicts import print_summary

        first = frame.iloc[0]
        cells = [
            [row["part"], row["entry"], f"{row['value']:.4g}", row["value_unit"]]
            for _, row in frame.iterrows()
        ]
        title = f"{first['device_name']}, torch {first['torch_version']}: {self.dataset}"
        summary = Summary(title, ["measured", "what", "value", "unit"], cells)
        print_summary(console, summary)
        return {"summary": summary._asdict()}

    def grid(self) -> dict[str, list[str]]:
        """The commands of `gpu_bench.run` by name, what says most for its time first."""
        from gpu_bench import methods

        every = tuple(methods.METHODS) if self.methods == ("all",) else self.methods
        for name in every:
            methods.find(name)  # refuses unknown names
        full = ["--epochs", str(self.epochs), "--seeds", str(self.seeds), *SPARSITIES]
        fifth = ["--epochs", str(max(self.epochs // 5, 1)), "--seeds", "1"]
        tuned = ["--tuned", str(self.out / "tune" / "tuned.json")]
        two, pilot = ("dense", "pilot"), ("pilot",)
        rows: list[tuple[str, str, Sequence[str], list[str]]] = [
            ("at-once", "one-shot", pilot, ["--epochs", str(min(self.epochs, 20))]),
            ("tune", "tune", every, [*fifth, "--budget", str(self.budget)]),
            ("tuned", "one-shot", every, [*full, *tuned]),
            ("balanced", "one-shot", pilot, [*full, *tuned, "--pilot.beta", "0"]),
            ("plain", "one-shot", two, full),
            ("iterative", "iterative", two, [*fifth, "--variant", "wr", "lrr"]),
            ("sculpt", "sculpt", two, [*fifth, "--sparsities", "0.9", "0.95"]),
        ]
        place = [] if self.data_root is None else ["--data-root", str(self.data_root)]
        common = ["--dataset", self.dataset, *place, "--device", self.device, "--methods"]
        return {
            name: [protocol, *common, *there, *flags]
            for name, protocol, chosen, flags in rows
            if (there := [method for method in chosen if method in every])
        }


# --- measurements ---


def fastest(setting: Setting) -> Mode:
    """How the trainer runs by default on the device."""
    from benchmarks.vision_parts import Mode

    return Mode(True, True, True) if setting.device.type == "cuda" else Mode()


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


def epochs(setting: Setting) -> Entries:
    """Epochs with their evaluation, beside a plain loop and, on CUDA, a compiled one."""
    from benchmarks import vision_parts
    from benchmarks.vision_parts import Mode

    modes, others, found = [fastest(setting)], {}, []
    if modes[0].capture:
        modes += [Mode(True, False, True), Mode(False, True, True), Mode(False, False, True)]
        compiled = compiled_loop(setting, modes[0])
        try:
            compiled()  # compiles
            others = {"compiled loop, bf16": partial(setting.timed, compiled)}
        except Exception as error:  # it needs a C compiler; the others don't
            found = [(f"compiled loop failed: {str(error)[:80]}", float("nan"), "s/epoch")]
    workers = 8 if setting.device.type == "cuda" else 0
    rows = vision_parts.epochs(setting, modes, workers, REPEATS, others)
    return [*found, *_times(rows, "s/epoch")]


def compiled_loop(setting: Setting, mode: Mode) -> Callable[[], None]:
    """Epochs as airbench has them: images on the device, bfloat16 autocast, a compiled network."""
    import torch

    from benchmarks.plain_loop import sgd, sgd_step
    from benchmarks.vision_parts import LR

    batches, model = setting.batches(mode), setting.model(mode)
    network, optimizer = torch.compile(model, mode="reduce-overhead"), sgd(model, LR)

    def epoch() -> None:
        with torch.autocast(setting.device.type, torch.bfloat16):
            model.train()
            for images, labels in batches.epoch(1):
                sgd_step(network, optimizer, images, labels)
            model.eval()
            with torch.no_grad():
                hits = [(network(x).argmax(1) == y).sum() for x, y in batches.evaluation()]
        torch.stack(hits).sum().item()

    return epoch


def steps(setting: Setting) -> Entries:
    """The step of each method: what m ⊙ w costs beside the dense one."""
    from benchmarks import vision_parts

    return _times(vision_parts.steps(setting, fastest(setting), METHODS, REPEATS), "s/step")


def profiled(setting: Setting) -> Entries:
    """Kernels (on a CPU operators) of PILoT's training step, the longest first."""
    from torch.profiler import profile

    from benchmarks.vision_parts import WARM_UP

    mode = fastest(setting)
    advance = setting.step(setting.trainer("pilot", mode), mode)
    for _ in range(WARM_UP):
        advance()
    alone = min(setting.timed(advance) for _ in range(setting.steps))
    with profile() as seen:
        setting.timed(lambda: [advance() for _ in range(setting.steps)])
    # an operator on the host is charged with the kernels that it starts: count those alone
    kind = setting.device.type
    own = "self_device_time_total" if kind == "cuda" else "self_cpu_time_total"
    kernels = sorted(
        (
            (event.key[:80], event.count / setting.steps, 1e-6 * getattr(event, own))
            for event in seen.key_averages()
            if event.device_type.name.lower() == kind
        ),
        key=lambda kernel: -kernel[2],
    )
    total = sum(kernel[2] for kernel in kernels) / setting.steps
    return [
        ("step, without the profiler", alone, "s"),
        ("all kernels", total, "s"),
        ("number of kernels", sum(kernel[1] for kernel in kernels), "1/step"),
        *((key, seconds / setting.steps, "s") for key, _, seconds in kernels[:KERNELS]),
    ]


def _times(rows: Sequence[Row], unit: str) -> Entries:
    return [(f"{row['entry']}, {row['mode']}", min(row["seconds"]), unit) for row in rows]


MEASURED: dict[str, Callable[[Setting], Entries]]
MEASURED = {"device": rates, "epochs": epochs, "methods": steps, "profile": profiled}


# --- the grid ---


def train(session: Session, end: float) -> int:
    """Run the parts of the grid until `end`, by the monotonic clock; returns the exit code."""
    grid, at_once = session.grid(), 1
    for name in session.asked(grid):
        words, out = grid[name], session.out / name
        if session.dataset != "digits" and session.data_root is None:
            print(f"{name}: waits for --data-root", file=sys.stderr)
            continue
        if name != "at-once":
            code = _run([*words, "--out", str(out), "--jobs", str(at_once)], end)
            if code:
                return code
            continue
        speeds = {}
        for count in AT_ONCE:
            flags = ["--seeds", str(count), "--jobs", str(count), "--out", str(out / str(count))]
            if code := _run([*words, *flags], end):
                return code
            rows = load(out / str(count)).drop_duplicates("key")
            speeds[count] = float(rows["images_per_second"].sum())
            print(f"{count} runs at once: {speeds[count]:,.0f} images/s together")
        at_once = max(speeds, key=speeds.__getitem__)
    return 0


def _run(words: list[str], end: float) -> int:
    """Run `gpu_bench.run` until it ends, or SIGTERM at `end`; finished runs are kept."""
    with subprocess.Popen([sys.executable, "-m", "gpu_bench.run", *words]) as child:
        try:
            return child.wait(max(end - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            child.terminate()
            return child.wait()
        finally:
            child.kill()


@command
def main(arguments: list[str] | None = None) -> int:
    """Measure, then run the grid; returns the exit code: 143 where the minutes were over."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    require("python -m benchmarks.gpu", "torch", *TABLES)

    from mirrorflow.runs.flags import read_flags

    session = read_flags(Session, words, "python -m benchmarks.gpu", str(__doc__))
    end = time.monotonic() + 60.0 * session.minutes
    code = run(session, "benchmarks.gpu", "") if session.runs() else 0
    with stoppable(FAREWELL):
        return code or train(session, end)


if __name__ == "__main__":
    from benchmarks import gpu  # the module that workers import, not __main__

    sys.exit(gpu.main())
