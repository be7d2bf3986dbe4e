"""Session on a device: stages that are saved as they end, an archive, the parts of the grid."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import time
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen, TimeoutExpired

import numpy as np
import torch

from gpu_bench.data.sources import OFFICIAL
from gpu_bench.run import PROGRAM
from mirrorflow.checks import InputError
from mirrorflow.runs.store import Row, atomic_write, command_line, environment, load, load_paths
from mirrorflow.runs.study import Study

__all__ = ["Session", "compute", "parts", "read", "setting"]

SHORTEST = 60.0  # seconds; with less left nothing begins
RESERVE = 10.0  # seconds for what follows when a part is stopped
PERIOD = 60.0  # seconds between two archives while a part runs
LARGEST = 2**24  # bytes of a stage's file
LOCAL = {"weights", "checkpoints", "progress", ".lock"}  # stay where they were made
AT_ONCE = (1, 2, 4, 8)  # runs
STOPPED = (143, -15)  # exit codes after SIGTERM; the second before Python could handle it
SPARSITIES = ("--sparsities", "0.5", "0.8", "0.9", "0.95", "0.98", "0.99")


class Session:
    """A folder with one NAME.json for each stage, and the time that is left.

    Parameters
    ----------
    out : Path
    minutes : float
        From now on.
    device : torch.device
    archive : Path, optional
        Zip file of all that a later session needs: unpacked into an empty `out` (InputError where
        it can't be read), and written after every stage and every minute of a part.

    Attributes
    ----------
    failed : list of str
        Names of the stages that failed.
    """

    def __init__(
        self, out: Path, minutes: float, device: torch.device, archive: Path | None = None
    ) -> None:
        self.out, self.archive = out, archive
        self.device = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        self._end = time.monotonic() + 60.0 * minutes
        self.failed: list[str] = []
        out.mkdir(parents=True, exist_ok=True)
        if archive is not None and archive.exists() and not any(out.iterdir()):
            try:
                with zipfile.ZipFile(archive) as packed:
                    packed.extractall(out)  # never outside of it
            except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
                raise InputError(
                    f"--archive must be the zip file of a session, but {archive} is not ({error})."
                ) from None

    def left(self) -> float:
        """Return the seconds that are left; below 0 after the end."""
        return self._end - time.monotonic()

    def stage(self, name: str, asked: Row, compute: Callable[[], Row]) -> None:
        """Compute a stage and save it, unless it is complete and was asked the same before.

        A stage that raises has failed: its message is saved, and a later session tries again. A
        result whose `complete` is False is gone on with.
        """
        asked = {"device": self.device, **asked}
        found = read(self.out, name)
        if found and (found["asked"], found["status"]) == (asked, "complete"):
            say(f"{name}: done before")
            return
        if self.left() < SHORTEST:
            say(f"{name}: no time left")
            return
        say(f"{name} … ({self.left():.0f} s left)")
        try:
            result = compute()
            status = "complete" if result.pop("complete", True) else "begun"
        except Exception as error:  # what one stage can't do must not stop the others
            refused = isinstance(error, InputError)
            message = str(error) if refused else traceback.format_exc(limit=-6)
            result, status = {"message": message}, "failed"
            self.failed.append(name)
            say(f"{name} failed: {message}")
        about = {"command": command_line("benchmarks.gpu"), "environment": environment()}
        saved = {"status": status, "asked": asked, "result": result, **about}
        atomic_write(self.out / f"{name}.json", json.dumps(saved, indent=1).encode())
        self.keep()

    def keep(self) -> None:
        """Write the archive, where one was asked for."""
        if self.archive is None:
            return
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(self.out.rglob("*")):
                place = path.relative_to(self.out)
                if path.is_file() and not LOCAL & {*place.parts}:
                    packed.write(path, place)
        self.archive.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self.archive, stream.getvalue())


def read(out: Path, name: str) -> Row | None:
    """Return what is on disk of a stage; None without a whole file of it."""
    path = out / f"{name}.json"
    try:
        found = json.loads(path.read_bytes()) if path.stat().st_size <= LARGEST else None
    except (OSError, ValueError, RecursionError):
        return None
    needed = {"status", "asked", "environment", "result"}
    return found if isinstance(found, dict) and needed <= found.keys() else None


def say(words: str) -> None:
    """Print a line of progress."""
    print(words, file=sys.stderr, flush=True)


def parts(given: argparse.Namespace) -> dict[str, list[str]]:
    """Return the commands of `gpu_bench.run` by name, what says most for its time first.

    Each is protocol, data set and flags, without places; one without methods is left out.
    """
    full = ["--epochs", str(given.epochs), "--seeds", str(given.seeds), *SPARSITIES]
    fifth = ["--epochs", str(max(given.epochs // 5, 1)), "--seeds", "1"]
    large = "cifar100" if given.dataset == "cifar10" else given.dataset
    every, two, pilot = given.methods, ("dense", "pilot"), ("pilot",)
    rows = [
        ("at-once", "one-shot", given.dataset, pilot, ["--epochs", str(min(given.epochs, 20))]),
        ("same-bits", "one-shot", "digits", pilot, ["--epochs", "2", "--deterministic"]),
        ("tune", "tune", given.dataset, every, [*fifth, "--budget", str(given.budget)]),
        ("tuned", "one-shot", given.dataset, every, full),
        ("balanced", "one-shot", given.dataset, pilot, [*full, "--pilot.beta", "0"]),
        ("plain", "one-shot", given.dataset, two, full),
        ("iterative", "iterative", given.dataset, two, [*fifth, "--variant", "wr", "lrr"]),
        ("sculpt", "sculpt", given.dataset, two, [*fifth, "--sparsities", "0.9", "0.95"]),
        ("resnet18", "one-shot", large, (*two, "spred"), [*fifth, "--model", "resnet18"]),
    ]
    return {
        name: [protocol, dataset, "--device", given.device, "--methods", *there, *flags]
        for name, protocol, dataset, methods, flags in rows
        if (there := [method for method in methods if method in every])
    }


def setting(words: list[str]) -> Study:
    """Return the settings of a part."""
    return PROGRAM.configure(words[0], ["--dataset", *words[1:]])


def compute(name: str, words: list[str], session: Session, data_root: Path | None) -> None:
    """Compute a part as far as the time goes, where its images and its settings are there."""
    asked, place = {"words": words, "code": setting(words).digest()}, []
    if (dataset := words[1]) != "digits":
        if not _images(dataset, data_root):
            say(f"{name}: waits for {dataset}.npz in --data-root")
            return
        place = ["--data-root", str(data_root)]
    if name in ("tuned", "balanced"):
        tune, tuned = read(session.out, "tune"), session.out / "tune" / "tuned.json"
        if tune is None or tune["status"] != "complete":
            say(f"{name}: waits for tune")
            return
        place += ["--tuned", str(tuned)]
        asked["tuned"] = hashlib.sha256(tuned.read_bytes()).hexdigest()
    out, words = session.out / name, [*words, *place]
    call = {"at-once": _at_once, "same-bits": _same_bits}.get(name, _once)
    session.stage(name, asked, lambda: call(words, out, session))


def _images(name: str, root: Path | None) -> bool:
    """Say whether a data set is there; pieces (`split -b 50M NAME.npz NAME.npz.`) are joined."""
    if root is None:
        return False
    whole = root / f"{name}.npz"
    if whole.exists() or (root / OFFICIAL[name].folder).exists():
        return True
    joined = b"".join(piece.read_bytes() for piece in sorted(root.glob(f"{name}.npz.*")))
    complete = zipfile.is_zipfile(io.BytesIO(joined))  # its directory ends the last piece
    if complete:
        atomic_write(whole, joined)
    return complete


def _at_once(words: list[str], out: Path, session: Session) -> Row:
    """Time equal runs that share the device, each in a process of its own.

    `rows` has for each count of `runs` the `images_per_second` of training, all runs together
    (medians over epochs, evaluation included).
    """
    rows = []
    for count in AT_ONCE:
        place = out / str(count)
        if not _run([*words, "--seeds", str(count)], place, count, session):
            return {"rows": rows, "complete": False}
        speeds = load(place).drop_duplicates("key")["images_per_second"]
        rows.append({"runs": count, "images_per_second": float(speeds.sum())})
    return {"rows": rows}


def _same_bits(words: list[str], out: Path, session: Session) -> Row:
    """Compute a run twice; `differing` names the curves that have not the same bits."""
    found = []
    for name in ("once", "twice"):
        if not _run([*words, "--seeds", "1"], out / name, 1, session):
            return {"complete": False}
        found.append(load_paths(out / name / "paths.npz"))
    curves = [name for name in found[0] if not name.endswith("per_second")]  # tells the time
    return {"differing": [n for n in curves if not np.array_equal(found[0][n], found[1][n])]}


def _once(words: list[str], out: Path, session: Session) -> Row:
    """Compute a part, as many runs at once as were the fastest together."""
    found = read(session.out, "at-once")
    rows = found["result"].get("rows") if found else None
    jobs = max(rows, key=lambda row: row["images_per_second"])["runs"] if rows else 1
    return {"complete": _run(words, out, jobs, session)}


def _run(words: list[str], out: Path, jobs: int, session: Session) -> bool:
    """Run `gpu_bench.run` until it ends or the time is over; returns whether it is complete.

    Its finished runs are on disk; a later session on the same machine goes on with the others from
    their last epoch.
    """
    words = [*words, "--out", str(out), "--jobs", str(jobs)]
    command = [sys.executable, "-m", "gpu_bench.run", words[0], "--dataset", *words[1:]]
    code = None
    with Popen(command) as child:
        try:
            while code is None:
                try:
                    code = child.wait(min(PERIOD, max(session.left() - RESERVE, 1.0)))
                except TimeoutExpired:
                    session.keep()
                    if session.left() <= RESERVE:
                        child.terminate()
        finally:
            child.kill()
    if code in STOPPED:  # it had no time to put its rows together
        made = setting(words)
        folder = made.store()
        with folder.lock():
            runs = {run.key: run for run in made.runs()}
            folder.consolidate(runs.values(), command_line("benchmarks.gpu"), made.plain())
    elif code:
        raise InputError(f"python -m gpu_bench.run ended with exit code {code}.")
    return code == 0
