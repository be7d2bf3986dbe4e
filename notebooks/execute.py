"""Execute the notebooks: each NAME.py (jupytext, py:percent) becomes NAME.ipynb with outputs.

python notebooks/execute.py           writes the .ipynb files
python notebooks/execute.py --check   executes all in a copy, so that no file changes, and fails
                                      where a committed .ipynb has other cells than its .py
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import jupytext
from nbclient import NotebookClient

from mirrorflow.runs.cli import command

HERE = Path(__file__).parent
PICTURES = "{'retina'}"  # PNG at twice the density, shown at its size in inches


@command
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; compare the sources")
    check = parser.parse_args().check
    stale = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = _copy(Path(scratch)) if check else HERE
        for source in sorted(HERE.glob("[0-9]*.py")):
            target, notebook = source.with_suffix(".ipynb"), jupytext.read(source)
            if check and _sources(jupytext.read(target)) != _sources(notebook):
                stale.append(target.name)
            _execute(source.name, notebook, folder)
            if not check:
                _write(notebook, target)
    if stale:
        print(f"out of date: {', '.join(stale)}; run `make notebooks`", file=sys.stderr)
    return 1 if stale else 0


def _copy(scratch: Path) -> Path:
    """What notebooks read, without results/: they must run from a fresh clone."""
    (scratch / HERE.name).mkdir()
    shutil.copytree(HERE.parent / "figures", scratch / "figures")
    return scratch / HERE.name


def _execute(name: str, notebook, folder: Path) -> None:
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": folder}})
    client.extra_arguments = [f"--InlineBackend.figure_formats={PICTURES}"]
    client.execute()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    wall = time.perf_counter() - start
    print(f"{name}: executed in {wall:.0f} s, {spent:.0f} s of processor time", flush=True)


def _write(notebook, target: Path) -> None:
    # stable ids and no timings: a repeated execution changes outputs only
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"{target.stem}-{i}"[:64]
        cell.metadata.pop("execution", None)
    jupytext.write(notebook, target)


def _sources(notebook) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


if __name__ == "__main__":
    sys.exit(main())
