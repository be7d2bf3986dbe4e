"""Mutation test by packages: `mutmut` on a sample of mutants, drawn by a seed.

    make mutants                                    # every package, at most 20 minutes
    python tests/mutants.py --packages limits --sample 200 --minutes 60

Works in build/mutants/PACKAGE, a copy of the source, and goes on from what was found there for the
same source. Mutants that no number on a CPU can show are left out: the text of a message, what
`cast` is told, `strict=` of a `zip`, `device=`. Writes
build/mutants/mutants.md: killed and survived by package, and the difference of every survivor.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "mutants"
COPIED = ("mirrorflow", "gpu_bench", "benchmarks", "tests", "docs", "README.md", "CITATION.cff")
# what is mutated, and the test files next to it
PACKAGES: dict[str, tuple[str, str]] = {
    "schedules": (
        "mirrorflow/schedules.py mirrorflow/own_schedules.py mirrorflow/stepwise.py",
        "schedules fuzz_schedules descent",
    ),
    "potentials": ("mirrorflow/maps/entropy.py", "potentials factors"),
    "maps": ("mirrorflow/maps/*.py", "maps custom factors map_limits"),
    "losses": ("mirrorflow/losses.py", "losses limits"),
    "flows": ("mirrorflow/flows/*.py", "flows maps saddles averages"),
    "descent": ("mirrorflow/descent/*.py", "descent"),
    "pilot": ("mirrorflow/pilot/*.py", "pilot"),
    "methods": ("gpu_bench/methods/*.py", "gpu_methods"),
    "certificates": ("mirrorflow/certificates/*.py", "certificates certificates_maps discrete"),
    "limits": ("mirrorflow/limits/*.py", "limits interpolators map_limits margins"),
    "cycles": ("gpu_bench/cycles.py gpu_bench/checkpoints.py", "gpu_cycles"),
}
SETTINGS = """
[tool.mutmut]
source_paths = ["{source}"]
only_mutate = {patterns}
also_copy = {others}
pytest_add_cli_args = ["-m", "not slow", "-p", "no:cacheprovider", "-k", "{skipped}"]
pytest_add_cli_args_test_selection = {tests}
use_git_change_detection = false
timeout_multiplier = 5.0
timeout_constant = 5.0
"""
# threads, other processes and compilers don't survive the fork that mutmut makes for each mutant;
# the last one reads the name of a function, which mutmut changes
SKIPPED = "not compiled and not traced and not distributed and not threads and not forgotten"
DIFFERENCES = """
import json, sys
from pathlib import Path
from mutmut.mutation.diff_apply import get_diff_for_mutant
found = {}
for meta in Path("mutants").rglob("*.meta"):
    path = meta.relative_to("mutants").with_suffix("")
    for name in json.loads(meta.read_text())["exit_code_by_key"]:
        found[name] = str(path), get_diff_for_mutant(name, path=path)
json.dump(found, open("differences.json", "w"))
"""


def prepare(package: str, seconds: float) -> Path:
    """The copy of the source, with mutants and the tests that cover them; kept where unchanged."""
    patterns, tests = PACKAGES[package]
    folder = BUILD / package
    files = sorted(p for name in (*COPIED[:2], "tests") for p in (ROOT / name).rglob("*.py"))
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()
    if (folder / "digest").is_file() and (folder / "digest").read_text() == digest:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    skip = shutil.ignore_patterns("__pycache__", "*.ipynb")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=skip)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, folder)
    source = patterns.split("/")[0]
    given = SETTINGS.format(
        source=source,
        patterns=json.dumps(patterns.split()),
        others=json.dumps([name for name in COPIED if name != source]),
        tests=json.dumps([f"tests/test_{name}.py" for name in tests.split()]),
        skipped=SKIPPED,
    )
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + given)
    mutmut(folder, ["nothing"], 1, seconds)  # makes the mutants, runs the tests once
    if (folder / "mutants" / "mutmut-stats.json").is_file():
        subprocess.run([sys.executable, "-c", DIFFERENCES], cwd=folder, check=True)
        (folder / "digest").write_text(digest)
    return folder


def mutmut(folder: Path, names: list[str], jobs: int, seconds: float) -> None:
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(jobs), *names]
    with (folder / "log").open("a") as log:
        # a group of its own: one signal ends the mutants that it has started too
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
        try:
            process.wait(max(seconds, 1.0))
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def results(folder: Path) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for meta in (folder / "mutants").rglob("*.meta"):
        found |= json.loads(meta.read_text())["exit_code_by_key"]
    return found


def changes_nothing(difference: str) -> bool:
    """Whether no number on a CPU can show it: text, `cast`, `strict=` and `device=` alone."""

    def side(sign: str) -> str:
        lines = [line[1:] for line in difference.splitlines()[2:] if line.startswith(sign)]
        bare = re.sub(r"[rf]*(\"[^\"]*\"|'[^']*')", "None", " ".join(lines))
        bare = re.sub(r",?\s*(strict|device)=[\w.]+", "", bare)
        bare = re.sub(r",\s*\)", ")", bare)
        return re.sub(r"(None\s*,?\s*)+", "None ", bare)

    return side("-") == side("+") or "cast(" in side("-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", nargs="+", choices=PACKAGES, default=list(PACKAGES))
    parser.add_argument("--sample", type=int, default=50, help="mutants of each package")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    end = time.monotonic() + 60.0 * given.minutes
    page = ["| package | mutants | drawn | run | killed | survived |", "|---|--:|--:|--:|--:|--:|"]
    survivors, idle = [], []
    for i, package in enumerate(given.packages):
        if time.monotonic() > end:
            break
        folder = prepare(package, end - time.monotonic())
        if not (folder / "digest").is_file():  # no time, or tests that fail as they are
            idle.append(str(folder / "log"))
            continue
        differences = json.loads((folder / "differences.json").read_text())
        names = sorted(n for n, (_, text) in differences.items() if not changes_nothing(text))
        stream = random.Random(f"{given.seed} {package}")
        drawn = sorted(stream.sample(names, min(given.sample, len(names))))
        left = [name for name in drawn if results(folder)[name] is None]
        if left:
            share = (end - time.monotonic()) / (len(given.packages) - i)
            mutmut(folder, left, given.jobs, share)
        codes = results(folder)
        run = [name for name in drawn if codes[name] is not None]
        if not run:
            idle.append(str(folder / "log"))
        alive = [name for name in run if codes[name] in (0, 5, 33)]  # 33: no test calls it
        killed = len(run) - len(alive)
        page.append(
            f"| {package} | {len(names)} | {len(drawn)} | {len(run)} | "
            f"{killed} ({100 * killed / max(len(run), 1):.0f} %) | {len(alive)} |"
        )
        print(page[-1], flush=True)
        for name in alive:
            path, text = differences[name]
            changed = text.splitlines()[3:]
            survivors += [f"\n{path}, {name}\n\n```diff", *changed, "```"]
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "mutants.md").write_text("\n".join([*page, *survivors]) + "\n")
    print(*page, *survivors, sep="\n")
    if idle:
        sys.exit(f"no mutant was run where a log says why: {', '.join(idle)}")


if __name__ == "__main__":
    main()
