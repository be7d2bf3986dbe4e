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
import ast
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
        "mirrorflow/schedules.py mirrorflow/own_schedules.py mirrorflow/integrated_schedules.py "
        "mirrorflow/stepwise.py",
        "schedules fuzz_schedules descent",
    ),
    "potentials": ("mirrorflow/maps/entropy.py", "potentials factors"),
    "maps": ("mirrorflow/maps/*.py", "maps map_laws custom factors"),
    "losses": ("mirrorflow/losses.py", "losses"),
    "flows": (
        "mirrorflow/flows/*.py",
        "flows flow_kinds saddles averages controls discrete_models margins",
    ),
    "kernels": (
        "mirrorflow/flows/direct.py mirrorflow/flows/dual.py mirrorflow/flows/multistep.py "
        "mirrorflow/limits/newton.py mirrorflow/compiled/[!_o]*.py",
        "kernels stepper newton flow_kinds limit_parts",
    ),
    "descent": ("mirrorflow/descent/*.py", "descent"),
    "pilot": ("mirrorflow/pilot/*.py", "pilot"),
    "methods": ("gpu_bench/methods/*.py", "gpu_methods"),
    "certificates": (
        "mirrorflow/certificate.py mirrorflow/certificates/*.py",
        "certificates certificates_maps certificate_numbers averages controls depth_limits "
        "discrete discrete_models extending l1_distance margins margin_study noise saddles",
    ),
    "limits": (
        "mirrorflow/limits/*.py",
        "limits limit_parts interpolators map_limits depth_limits margins l1_distance saddles",
    ),
    "cycles": ("gpu_bench/cycles.py gpu_bench/checkpoints.py", "gpu_cycles"),
    "runs": (
        "mirrorflow/runs/[!rs]*.py mirrorflow/runs/runner.py mirrorflow/runs/stopping.py "
        "mirrorflow/runs/study.py",
        "execution files help programs progress reproduce results results_load runs",
    ),
    "store": ("mirrorflow/runs/store/*.py", "results results_load results_closure fuzz_results"),
    "report": ("mirrorflow/runs/report/*.py", "report_page fuzz_results reproduce"),
    "claims": ("mirrorflow/claims/*.py", "claim_trials"),
    "sweep": (
        "mirrorflow/sweep/*.py",
        "study_rows studies claims sweep margin_study reproduce",
    ),
    "protocols": ("gpu_bench/protocols/*.py", "gpu_protocols gpu_run"),
    "vision_report": ("gpu_bench/report/*.py", "gpu_report gpu_target gpu_tuning"),
}
SETTINGS = """
[tool.mutmut]
source_paths = ["{source}"]
only_mutate = {patterns}
also_copy = {others}
pytest_add_cli_args = {options}
pytest_add_cli_args_test_selection = {tests}
use_git_change_detection = false
timeout_multiplier = 5.0
timeout_constant = 5.0
"""
# threads, other processes and compilers don't survive the fork that mutmut makes for each mutant;
# the last one reads the name of a function, which mutmut changes
SKIPPED = "not compiled and not traced and not distributed and not threads and not process "
SKIPPED += (
    "and not forgotten and not kills_change and not on_two_ranks and not ranks_that_disagree "
)
# a quarter of a minute and more, where others see the same functions
SKIPPED += "and not jobs_do and not changed_helper and not judged_by_the_others and not data_files "
SKIPPED += "and not whole_ledger and not of_one_s_own and not in_the_folder_of_claims"
SKIPPED += " and not bad_files_through"
# a flow that takes a minute as Python
SLOW = " and not steps_beyond_a_domain"
# mutmut gives a test the functions called while it runs: here also those that a fixture which it
# shares with others has called, and the time that its fixtures take; a test that takes ten times as
# long as it does, and ten seconds, has no end
SHARED = """

import signal

from mutmut.state import state

CALLED = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    def ended(*_):
        raise AssertionError("no end")

    signal.signal(signal.SIGVTALRM, ended)
    seconds = state().duration_by_test.get(item.nodeid)
    if seconds is not None:  # it has been timed
        signal.setitimer(signal.ITIMER_VIRTUAL, 10.0 + 10.0 * seconds)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef):
    before = set(state()._stats)
    state()._stats.clear()
    result = yield
    CALLED.setdefault(fixturedef, set()).update(state()._stats)
    state()._stats.update(before)
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item):
    for fixtures in item._fixtureinfo.name2fixturedefs.values():
        for fixture in fixtures:
            state()._stats.update(CALLED.get(fixture, ()))


def pytest_runtest_makereport(item, call):
    if call.when == "setup" and item.nodeid in state().duration_by_test:
        state().duration_by_test[item.nodeid] += call.duration
"""
# what mutmut knows, or can't be called after the function; and what is compiled, where it is
DECORATED = r"classmethod|staticmethod|.*overload|.*setter"
COMPILED = DECORATED + r"|(loop|kernel|inlined|exact|vectorised)\b"
# packages whose compiled functions are mutated too: all of it runs as Python
AS_PYTHON = ("maps", "losses", "kernels")
# the tests have passed when they were timed: not once more before the mutants, which would also
# leave results in the caches of the process that they are forked from
MUTMUT = """
from mutmut.__main__ import cli
from mutmut.workers.isolation import ForkRunner
ForkRunner.run_clean_tests = lambda self, tests: 0
cli()
"""
DIFFERENCES = """
import json, sys
from pathlib import Path
from mutmut.mutation.diff_apply import get_diff_for_mutant
found, wanted = {}, set(json.load(sys.stdin))
for meta in Path("mutants").rglob("*.meta"):
    path = meta.relative_to("mutants").with_suffix("")
    for name in wanted & set(json.loads(meta.read_text())["exit_code_by_key"]):
        found[name] = str(path), get_diff_for_mutant(name, path=path)
print(json.dumps(found))
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
    for path in (folder / source).rglob("*.py"):
        kept = DECORATED if package in AS_PYTHON else COMPILED
        path.write_text(undecorated(path.read_text(), kept))
    with (folder / "tests" / "conftest.py").open("a") as file:
        file.write(SHARED)
    options = ["-m", "not slow", "-p", "no:cacheprovider", "-k", SKIPPED]
    if package in AS_PYTHON:  # NumPy warns of what compiled code does in silence
        options[-1] += SLOW
        options += ["-W", "ignore::RuntimeWarning"]
    given = SETTINGS.format(
        source=source,
        patterns=json.dumps(patterns.split()),
        others=json.dumps([name for name in COPIED if name != source]),
        tests=json.dumps([f"tests/test_{name}.py" for name in tests.split()]),
        options=json.dumps(options),
    )
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + given)
    mutmut(folder, ["nothing"], 1, seconds)  # makes the mutants, runs the tests once
    if (folder / "mutants" / "mutmut-stats.json").is_file():
        (folder / "digest").write_text(digest)
    return folder


def undecorated(text: str, kept: str) -> str:
    """The same with decorators called after their functions: mutmut leaves decorated ones as they
    are."""
    tree, lines = ast.parse(text), text.splitlines()
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    functions = [node for body in bodies for node in body if isinstance(node, ast.FunctionDef)]
    for node in sorted(functions, key=lambda node: -node.lineno):
        names = [ast.unparse(decorator) for decorator in node.decorator_list]
        if names and not any(re.match(kept, name) for name in names):
            call = "".join(f"{name}(" for name in names) + node.name + ")" * len(names)
            lines.insert(node.end_lineno, " " * node.col_offset + f"{node.name} = {call}")
            del lines[node.decorator_list[0].lineno - 1 : node.lineno - 1]
    return "\n".join(lines) + "\n"


def mutmut(folder: Path, names: list[str], jobs: int, seconds: float) -> None:
    command = [sys.executable, "-c", MUTMUT, "run", "--max-children", str(jobs), *names]
    python = {"NUMBA_DISABLE_JIT": "1"} if folder.name in AS_PYTHON else {}
    with (folder / "log").open("a") as log:
        # a group of its own: one signal ends the mutants that it has started too
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | python,
            stdout=log,
            stderr=log,
            start_new_session=True,
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


def differences(folder: Path, names: list[str]) -> dict[str, tuple[str, str]]:
    """File and difference of each mutant."""
    command, given = [sys.executable, "-c", DIFFERENCES], json.dumps(names)
    done = subprocess.run(command, cwd=folder, input=given, stdout=-1, text=True, check=True)
    return {name: tuple(found) for name, found in json.loads(done.stdout).items()}


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
    survivors, idle, late = [], [], []
    for i, package in enumerate(given.packages):
        ready = time.monotonic() < end and prepare(package, end - time.monotonic())
        if time.monotonic() > end:
            late.append(package)
            continue
        folder = BUILD / package
        if not ready or not (folder / "digest").is_file():  # tests that fail as they are
            idle.append(str(folder / "log"))
            continue
        names = sorted(results(folder))
        random.Random(f"{given.seed} {package}").shuffle(names)
        shown = differences(folder, names[: 2 * given.sample])
        drawn = [name for name in names if name in shown and not changes_nothing(shown[name][1])]
        drawn = drawn[: given.sample]
        left = [name for name in drawn if results(folder)[name] is None]
        share = (end - time.monotonic()) / (len(given.packages) - i)
        if left:
            mutmut(folder, left, given.jobs, share)
        codes = results(folder)
        run = [name for name in drawn if codes[name] is not None]
        if not run:
            late.append(package) if share < 60.0 else idle.append(str(folder / "log"))
            continue
        alive = [name for name in run if codes[name] in (0, 5, 33)]  # 33: no test calls it
        killed = len(run) - len(alive)
        page.append(
            f"| {package} | {len(names)} | {len(drawn)} | {len(run)} | "
            f"{killed} ({100 * killed / max(len(run), 1):.0f} %) | {len(alive)} |"
        )
        print(page[-1], flush=True)
        for name in alive:
            path, text = shown[name]
            changed = text.splitlines()[3:]
            survivors += [f"\n{path}, {name}\n\n```diff", *changed, "```"]
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "mutants.md").write_text("\n".join([*page, *survivors]) + "\n")
    print(*page, *survivors, sep="\n")
    if late:
        print(f"No time was left for {', '.join(late)}; the same command goes on there.")
    if idle:
        sys.exit(f"no mutant was run where a log says why: {', '.join(idle)}")


if __name__ == "__main__":
    main()
