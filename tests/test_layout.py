"""The folder list is the architecture: imports run one way, files are short."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from mirrorflow.runs.store.closure import _imports, _source

ROOT = Path(__file__).parents[1]
PACKAGES = ("mirrorflow", "gpu_bench", "benchmarks")
FILES = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
MODULES = {name.removesuffix(".__init__"): path for name, path in MODULES.items()}


def imported(module: str) -> set[str]:
    """The modules of the packages that a module imports, inside functions too."""
    path, found = MODULES[module], set()
    for node in _imports(ast.parse(path.read_bytes())):
        for alias in node.names:
            if isinstance(node, ast.Import):
                found.add(alias.name)
            else:
                source = _source(node, module, path)
                name = f"{source}.{alias.name}"
                found.add(name if name in MODULES else source)
    return {name for name in found if name in MODULES} - {module}


GRAPH = {module: imported(module) for module in MODULES}


def room(module: str) -> str:
    """mirrorflow.flows of mirrorflow.flows.dual; of the face of a package its own name."""
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package):
    own = {m: {n for n in found if n.startswith(package)} for m, found in GRAPH.items()}
    list(TopologicalSorter({m: n for m, n in own.items() if m.startswith(package)}).static_order())


def test_no_folders_import_each_other_in_a_circle():
    rooms: dict[str, set[str]] = {}
    for module, found in GRAPH.items():
        if module not in PACKAGES:  # what a package passes on
            there = {room(name) for name in found - set(PACKAGES)}
            rooms[room(module)] = rooms.get(room(module), set()) | there
    list(TopologicalSorter({name: found - {name} for name, found in rooms.items()}).static_order())


def test_what_runs_and_stores_knows_no_mathematics():
    runs = [module for module in MODULES if module.startswith("mirrorflow.runs")]
    found = {room(name) for module in runs for name in GRAPH[module]}
    assert found <= {f"mirrorflow.{name}" for name in ("runs", "checks", "extras", "threads")}


def test_packages_import_downwards():
    floor = {name: i for i, name in enumerate(PACKAGES)}
    command = "mirrorflow.__main__"  # the first screen lists the vision protocols too
    for module in MODULES.keys() - {command}:
        for name in GRAPH[module]:
            assert floor[name.split(".")[0]] <= floor[module.split(".")[0]], (module, name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_named_for_what_they_hold(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert "util" not in path.stem
