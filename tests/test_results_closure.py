"""A run's digest changes with every module that computes it, and with no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_bench.run import PROGRAM
from mirrorflow.claims.registry import GROUPS
from mirrorflow.results import code_digest
from mirrorflow.runs.store.closure import closure
from mirrorflow.sweep import claims, descents, theorem23

ROOT = Path(__file__).parents[1]
KINDS = {"theorem23": theorem23.Theorem23, "claims": claims.Claims, "sgd": descents.Sgd}
DIGESTS = """
import json
from gpu_bench.run import PROGRAM
from mirrorflow.sweep import claims, descents, theorem23
studies = theorem23.Theorem23, claims.Claims, descents.Sgd
studies += tuple(PROGRAM.study(name) for name in PROGRAM.studies)
found = [kind.digest() for kind in studies]
print(json.dumps(found))
"""
STUDIES = {"theorem23", "claims", "sgd"}
PROTOCOLS = {"one-shot", "iterative", "cyclic", "sculpt", "target", "tune"}
BENCHMARKS = {"run", "total_decay"}
EVERYTHING = STUDIES | PROTOCOLS | BENCHMARKS
COMPUTING = {
    "mirrorflow.problems": EVERYTHING,  # random_stream
    "mirrorflow.checks": EVERYTHING,
    "mirrorflow.limits.newton": STUDIES | {"run"},
    "mirrorflow.claims.registry": {"claims"},
    "mirrorflow.claims.depth": {"claims"},
    "mirrorflow.commuting": {"claims"},
    "mirrorflow.certificates": {"theorem23", "claims"},
    "mirrorflow.pilot.product": PROTOCOLS | {"total_decay"},
    "gpu_bench.initial_masks": {"cyclic", "sculpt"},
    "gpu_bench.train": PROTOCOLS | {"total_decay"},
    "benchmarks.total_decay_runs": {"total_decay"},
    "benchmarks.exact": {"run"},
}
SHOWING = (
    "mirrorflow/plots/theorem23.py",
    "mirrorflow/runs/report/page.py",
    "mirrorflow/runs/store/folder.py",
    "mirrorflow/runs/executors.py",
    "mirrorflow/sweep/__main__.py",
    "mirrorflow/runs/runner.py",
    "mirrorflow/runs/study.py",
    "mirrorflow/sweep/table.py",
    "mirrorflow/sweep/claims.py",
    "mirrorflow/sweep/theorem23.py",
    "gpu_bench/job.py",
    "gpu_bench/run.py",
    "gpu_bench/report/lines.py",
    "gpu_bench/settings/base.py",
    "gpu_bench/tuning.py",
    "benchmarks/collapse.py",
    "benchmarks/page.py",
)


@pytest.fixture(scope="module")
def closures() -> dict[str, set[str]]:
    """The modules that compute the rows of each study, protocol and benchmark."""
    starts = {name: {kind.compute.__module__} for name, kind in KINDS.items()}
    starts["claims"] |= {group.trial.__module__ for group in GROUPS.values()}
    starts |= {name: {PROGRAM.study(name).module().__name__} for name in PROGRAM.studies}
    starts |= {"total_decay": {"benchmarks.total_decay_runs"}, "run": {"benchmarks.plan"}}
    return {name: set(closure(*modules)) for name, modules in starts.items()}


@pytest.mark.parametrize("module", COMPUTING)
def test_what_computes_a_row_is_in_its_closure(closures, module):
    assert set(closures) == EVERYTHING
    assert {name for name, modules in closures.items() if module in modules} == COMPUTING[module]


def test_what_only_shows_or_carries_is_in_none(closures):
    everything = set().union(*closures.values())
    for file in SHOWING:
        assert (ROOT / file).is_file()
        assert file.removesuffix(".py").replace("/", ".") not in everything


def digests(root: Path) -> list[str]:
    """Of every study and protocol, by a Python that has the packages from `root`."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", DIGESTS]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    found: list[str] = json.loads(done.stdout)
    return found


def append(path: Path) -> None:
    with path.open("a") as stream:
        stream.write("\n# changed\n")


def test_a_changed_helper_repeats_runs_and_a_changed_plot_none(tmp_path):
    for package in ("mirrorflow", "gpu_bench", "benchmarks"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignore)
    before = digests(tmp_path)
    assert len(before) == len(STUDIES | PROTOCOLS)
    for file in SHOWING:
        append(tmp_path / file)
    assert digests(tmp_path) == before
    append(tmp_path / "mirrorflow/claims/depth.py")  # found in its folder, imported by nobody
    assert [new != old for new, old in zip(digests(tmp_path), before, strict=True)][:3] == [0, 1, 0]
    append(tmp_path / "mirrorflow/problems.py")
    assert not set(digests(tmp_path)) & set(before)


def made(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_every_form_of_import_is_followed(tmp_path, monkeypatch):
    """Relative ones, those inside functions, through a package, with a dot, of a whole module."""
    package = tmp_path / "closure_example"
    made(
        package,
        {
            "__init__.py": "from closure_example.heavy import heavy\n",
            "heavy.py": "heavy = 1\n",
            "start.py": """
                from typing import TYPE_CHECKING
                import numpy
                from . import relative
                from .deep.inner import level
                from closure_example.passing import passed, same as other
                from closure_example.making import made_here
                import closure_example.dotted.whole
                import closure_example.dotted as short
                import closure_example.alone as alone, os
                from closure_example.starred import *
                if TYPE_CHECKING:
                    from closure_example import types_only
                else:
                    from closure_example import at_run_time
                if not TYPE_CHECKING:
                    from closure_example import guarded
                try:
                    from closure_example import tried
                except ImportError:
                    from closure_example.missing import nothing
                def compute():
                    import closure_example.in_function
                    class Inner:
                        from closure_example import in_class
                    return short.attribute.value + closure_example.by_dot.value
            """.replace("\n                ", "\n"),
            "relative.py": "",
            "deep/__init__.py": "import closure_example.unused_one\n",
            "deep/inner.py": "from .. import upwards\nfrom ..deep import beside\n",
            "deep/beside.py": "",
            "upwards.py": "import closure_example.start\n",  # a circle
            "passing/__init__.py": "from .origin import passed\nfrom .far import thing as same\n"
            "from .not_asked import more\n",
            "passing/origin.py": "",
            "passing/passed.py": "",  # hidden by the name that is passed on
            "passing/far.py": "",
            "passing/not_asked.py": "",
            "making/__init__.py": "from . import helper\nmade_here = helper\n",
            "making/helper.py": "",
            "dotted/__init__.py": "",
            "dotted/whole.py": "",
            "dotted/attribute.py": "",
            "dotted/never.py": "",
            "by_dot.py": "",
            "alone.py": "",
            "starred/__init__.py": "from .star import *\n",
            "starred/star.py": "",
            "in_function.py": "",
            "in_class.py": "",
            "types_only.py": "",
            "at_run_time.py": "",
            "guarded.py": "",
            "tried.py": "",
            "unused_one.py": "",
        },
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {name.removeprefix("closure_example.") for name in closure("closure_example.start")}
    assert found == {
        *("start", "relative", "deep.inner", "deep.beside", "upwards"),
        *("passing", "passing.origin", "passing.far", "making", "making.helper"),
        *("dotted.whole", "dotted.attribute", "alone", "starred", "starred.star"),
        "by_dot",
        *("in_function", "in_class", "at_run_time", "guarded", "tried"),
    }
    first = code_digest("closure_example.start")
    (package / "heavy.py").write_text("# nobody asked for it")
    assert code_digest("closure_example.start") == first
    (package / "passing" / "__init__.py").write_text("from .far import thing as passed, same\n")
    second = code_digest("closure_example.start")
    assert second != first
    assert code_digest("closure_example.start", "closure_example.heavy") != second
