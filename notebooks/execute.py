"""Execute the notebooks: each NAME.py (jupytext, py:percent) becomes NAME.ipynb with outputs.

python notebooks/execute.py           writes the .ipynb files
python notebooks/execute.py --check   executes all, and fails where a committed .ipynb has
                                      other cells than its .py
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import jupytext
from nbclient import NotebookClient

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; compare the sources")
    check = parser.parse_args().check
    stale = []
    for source in sorted(HERE.glob("[0-9]*.py")):
        target = source.with_suffix(".ipynb")
        notebook = jupytext.read(source)
        if check and _sources(jupytext.read(target)) != _sources(notebook):
            stale.append(target.name)
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        start = time.perf_counter()
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": HERE}}).execute()
        print(f"{source.name}: executed in {time.perf_counter() - start:.0f} s", flush=True)
        if not check:
            # stable ids and no timings: a repeated execution changes outputs only
            for i, cell in enumerate(notebook.cells):
                cell["id"] = f"{source.stem}-{i}"[:64]
                cell.metadata.pop("execution", None)
            jupytext.write(notebook, target)
    if stale:
        print(f"out of date: {', '.join(stale)}; run `make notebooks`", file=sys.stderr)
    return 1 if stale else 0


def _sources(notebook) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


if __name__ == "__main__":
    sys.exit(main())
