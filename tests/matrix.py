"""The quick tests on every Python from 3.11 to 3.14 that is found, and on the lowest versions.

python tests/matrix.py                  all of it (`make test-matrix`)
python tests/matrix.py 3.12 lowest      these alone

Each environment lies in .matrix/ and has the extras `study` and `test`, so no torch: what needs
torch is tested by `make test`. "lowest" is the oldest Python with what the core and `study` need at
the lower bounds of pyproject.toml; pytest and hypothesis are the newest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
# some minutes on two cores: solvers and certificates, files, a study from flags to figures
QUICK = (
    *("certificates", "factors", "files", "flows", "fuzz_numbers", "install", "interpolators"),
    *("limits", "potentials", "problems", "products", "references", "results_load", "schedules"),
    *("studies", "threads"),
)


def interpreter(version: str) -> str | None:
    """A Python of that version: on PATH, else one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(f"python{version}"), *pyenv.glob(f"versions/{version}.*/bin/python")]
    ask = "import sys; print('{}.{}'.format(*sys.version_info))"
    for path in map(str, filter(None, found)):
        # a shim of pyenv may be there without the version behind it
        said = subprocess.run([path, "-c", ask], capture_output=True, text=True, check=False)
        if said.stdout.strip() == version:
            return path
    return None


def requirements(*extras: str) -> list[str]:
    """What the core and these extras need, from pyproject.toml."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        for line in PROJECT["optional-dependencies"][extra]:
            own = re.fullmatch(r"mirrorflow\[(.*)\]", line)
            lines += requirements(*own.group(1).split(",")) if own else [line]
    return list(dict.fromkeys(lines))


def lowest(lines: list[str]) -> list[str]:
    """The same at their lower bounds."""
    return [line.replace(">=", "==") for line in lines]


def tested(name: str, python: str, needs: list[str]) -> str:
    """Make the environment, run the quick tests there; returns a word about it."""
    folder = ROOT / ".matrix" / name
    inside = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
    print(f"{name}: installing into {folder}", flush=True)
    subprocess.run([python, "-m", "venv", folder], check=True)
    pip = [inside, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    if subprocess.run([*pip, *needs], check=False).returncode:
        return "could not be installed"
    files = [str(ROOT / "tests" / f"test_{quick}.py") for quick in QUICK]
    command = [inside, "-m", "pytest", "-m", "not slow", "-p", "no:cacheprovider", *files]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    return "failed" if done.returncode else "passed"


def main(chosen: list[str]) -> int:
    needs, tools, results = requirements("study"), requirements("test"), {}
    for name in chosen or [*VERSIONS, "lowest"]:
        python = interpreter(VERSIONS[0] if name == "lowest" else name)
        wanted = lowest(needs) if name == "lowest" else needs
        results[name] = tested(name, python, [*wanted, *tools]) if python else "not found here"
    print("\n" + "\n".join(f"{name:>7}  {result}" for name, result in results.items()))
    ran = [result for result in results.values() if result != "not found here"]
    return 0 if ran and set(ran) == {"passed"} else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
