"""What is installed: a light core, extras by name, one command, types, metadata."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mirrorflow as mf
from gpu_bench.methods import METHODS
from mirrorflow import __main__ as command
from mirrorflow.claims import registry
from mirrorflow.extras import DISTRIBUTIONS, EXTRAS, MissingPackage, require

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEAVY = sorted({name for brings in EXTRAS.values() for name in brings})
# as if only numpy, scipy, threadpoolctl and numba were installed
LIGHT = f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\n"


def light(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process in which no optional package can be imported."""
    ran = [sys.executable, "-W", "ignore", "-c", LIGHT + code, *words]
    return subprocess.run(ran, capture_output=True, text=True, cwd=ROOT, check=False)


def blocks(name: str) -> list[str]:
    """The examples of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)


def use_block() -> str:
    return next(block for block in blocks("README.md") if "import mirrorflow as mf" in block)


def test_the_core_needs_no_optional_package():
    done = light(
        use_block()
        + """
import numpy as np
mf.gradient_flows(problem, [factors, factors], schedule, [0.0, 1.0])
path = mf.direct_flow(problem, factors, schedule, [0.0, 1.0])
mf.interpolator(problem, factors, np.inf), mf.interpolators(problem, [factors], [0.0, 2.0])
mf.lasso_limit(problem, factors, 0.1)
mf.descend(problem, factors, schedule, 1e-3, 20)
assert mf.certificates.invariant(factors, path, 1e-8).holds
mf.results, mf.commuting
help(mf)
"""
    )
    assert done.returncode == 0, done.stderr


def test_importing_loads_no_optional_package():
    code = f"import sys, mirrorflow; print([n for n in {HEAVY} if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


MISSING = {
    "mf.min_l1(problem)": "min_l1 needs cvxpy, clarabel",
    "mf.min_l2(problem)": "references",
    "mf.lasso(problem, 0.1)": "references",
    "mf.min_potential(problem, start, 1.0)": "references",
    "mf.diabetes()": "diabetes needs scikit-learn",
    "mf.digits_sensing(0, 30, 0)": "digits_sensing needs scikit-learn",
    "mf.certificates.lasso_agreement(problem, [0.0, 1.0], 0.1)": "study",
    "mf.pilot": "mirrorflow.pilot needs torch",
    "mf.estimator": "mirrorflow.estimator needs scikit-learn",
    "mf.plots": "mirrorflow.plots needs matplotlib",
    "mf.commuting.commutes(abs, 2)": "mirrorflow.commuting needs torch",
    "mf.results.load('results')": "mirrorflow.results.load needs pandas, pyarrow",
}


def test_what_is_missing_is_named_with_its_command():
    done = light(f"""
import mirrorflow as mf
problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0])
for call in {list(MISSING)}:
    try:
        eval(call)
        print("it ran")
    except ImportError as error:
        assert isinstance(error, mf.InputError)
        print(error)
""")
    assert done.returncode == 0, done.stderr
    for line, words in zip(done.stdout.splitlines(), MISSING.values(), strict=True):
        assert words in line
        assert re.search(r"; pip install 'mirrorflow\[(references|study|torch)\]'\.$", line)


COMMANDS = {
    "mirrorflow.sweep.__main__": ([], "study"),
    "mirrorflow.sweep.__main__ ": (["report", "results"], "study"),
    "gpu_bench.run": ([], "vision"),
    "gpu_bench.run ": (["report", "results"], "vision"),
    "mirrorflow.__main__": (["sweep", "claims"], "study"),
    "mirrorflow.__main__ ": (["vision", "one-shot", "--help"], "vision"),
}


@pytest.mark.parametrize("module", COMMANDS)
def test_commands_name_what_is_missing(module):
    words, extra = COMMANDS[module]
    code = f"import sys; from {module.strip()} import main; sys.exit(main())"
    done = light(code, *words)
    assert done.returncode == 2
    # the command as it was typed
    name = f"mirrorflow {words[0]}" if module.startswith("mirrorflow.__") else "python -m "
    assert done.stderr.startswith(f"error: {name}")
    assert done.stderr.endswith(f"; pip install 'mirrorflow[{extra}]'.\n")
    assert done.stderr.count("\n") == 1


def test_a_package_that_breaks_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "cvxpy.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cvxpy", raising=False)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        mf.min_l1(mf.Regression([[1.0, 2.0]], [2.0]))


def test_an_extra_that_brings_all_of_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "tyro", None)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingPackage, match=r"torch, tyro, .*mirrorflow\[vision\]"):
        require("this", "torch", "tyro", "numpy")
    with pytest.raises(MissingPackage, match=r"mirrorflow\[all\]"):
        require("this", "torch", "distributed")


def brought(extra: str) -> set[str]:
    """The distributions of an extra of pyproject.toml, those of the extras it names included."""
    found = set()
    for line in PROJECT["optional-dependencies"][extra]:
        name, extras = re.match(r"([\w-]+)(?:\[([\w,]+)\])?", line).groups()
        own = name == "mirrorflow"
        found |= set().union(*map(brought, extras.split(","))) if own else {name}
    return found


def test_extras_are_those_of_pyproject():
    for extra, names in EXTRAS.items():
        distributions = {DISTRIBUTIONS.get(name, name).partition("[")[0] for name in names}
        assert distributions <= brought(extra)
        assert brought(extra) <= distributions
        assert brought(extra) <= brought("all")
    core = {re.match(r"[\w-]+", line).group() for line in PROJECT["dependencies"]}
    assert core == {"numpy", "scipy", "threadpoolctl", "numba"}
    every = [*PROJECT["dependencies"]]
    for lines in PROJECT["optional-dependencies"].values():
        every += lines
    assert all(">=" in line or line.startswith("mirrorflow[") for line in every)
    assert not any(sign in line for line in every for sign in ("<", "==", "~="))


def test_every_public_name_and_module_comes_when_it_is_asked_for():
    code = (
        "import mirrorflow as mf\n"
        "missing = {name for name in mf.__all__ if name not in dir(mf)}\n"
        "assert not missing and all(hasattr(mf, name) for name in mf.__all__)\n"
        "assert mf.maps.Factors is mf.Factors and mf.gradient_flow is mf.flows.gradient_flow\n"
        "from mirrorflow import *\n"
        "assert Factors is mf.Factors"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_submodules_are_there_after_import():
    pytest.importorskip("torch")  # without it, test_the_core_needs_no_optional_package
    code = (
        "import mirrorflow as mf; names = set(dir(mf))\n"
        "for name in ('results', 'pilot', 'commuting', 'plots', 'certificates'):\n"
        "    assert name in names and getattr(mf, name).__name__ == 'mirrorflow.' + name\n"
        "assert hasattr(mf, 'Regression') and not hasattr(mf, 'nonsense')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_first_screen_lists_every_command(capsys):
    for words in ([], ["--help"], ["-h"]):
        assert command.main(words) == 0
        screen = capsys.readouterr().out
        for name in ("sweep", "report", "vision", "claims", "cyclic"):
            assert f"\n  {name} " in screen
        assert max(map(len, screen.splitlines())) < 80
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out == f"mirrorflow {mf.__version__}\n"


@pytest.mark.parametrize(
    ("word", "meant"),
    [("swep", "sweep"), ("claims", "sweep claims"), ("one-shto", "vision one-shot")],
)
def test_unknown_commands_get_the_nearest(word, meant, capsys):
    assert command.main([word]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        f"error: COMMAND must be one of {', '.join(command.COMMANDS)}, but it is "
    )
    assert error.endswith(f" Did you mean mirrorflow {meant}?\n")
    assert command.main(["\x1b[31mxyz"]) == 2
    error = capsys.readouterr().err
    assert "Did you mean" not in error
    assert "\x1b" not in error


def test_commands_are_those_of_the_modules(monkeypatch):
    from gpu_bench import run
    from mirrorflow.results import command_line
    from mirrorflow.sweep import __main__ as sweep

    made = []

    def instead(words):
        made.append((words, command_line("M")))
        return 3

    monkeypatch.setattr(sweep, "main", instead)
    monkeypatch.setattr(run, "main", instead)
    for words in (["sweep", "sgd", "--jobs", "1"], ["report", "F"], ["vision", "tune"]):
        monkeypatch.setattr(sys, "argv", ["mirrorflow", *words])
        assert command.main() == 3
    assert made == [
        (["sgd", "--jobs", "1"], "python -m M sgd --jobs 1"),
        (["report", "F"], "python -m M report F"),
        (["tune"], "python -m M tune"),
    ]
    assert PROJECT["scripts"] == {"mirrorflow": "mirrorflow.__main__:main"}


def test_citations_agree_and_name_this_version():
    """CITATION.cff, and the BibTeX entries of docs/faq.md."""
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {mf.__version__}\n" in text
    bibtex = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8").split("```bibtex")[1]
    said = dict(re.findall(r"^ *(\w+) += \{+(.*?)\}+,$", bibtex.split("@inproceedings")[0], re.M))
    software = text.split("references:")[0]
    assert f'\ntitle: "{said["title"]}"\n' in software
    assert f"  - name: {said['author']}\n" in software
    assert all(f"\n{key}: {said[key]}\n" in software for key in ("version", "license"))
    paper = dict(re.findall(r"^ *(\w+) += \{+(.*?)\}+,$", bibtex.split("@inproceedings")[1], re.M))
    assert f'title: "{paper["title"]}"' in text
    assert f'value: "arXiv:{paper["eprint"]}"' in text
    assert f"year: {paper['year']}\n" in text


@pytest.mark.parametrize(
    "block",
    blocks("docs/extending.md"),
    ids=["claim", "schedule", "map", "loss", "study", "method", "data"],
)
def test_examples_of_extending_run(block, monkeypatch):
    for name in ("CLAIMS", "GROUPS"):  # the example's claims are nobody else's
        monkeypatch.setattr(registry, name, {**getattr(registry, name)})
    before = dict(METHODS)
    try:
        exec(compile(block, "extending.md", "exec", dont_inherit=True), {"__name__": "extending"})
    finally:  # nor is its method
        METHODS.clear()
        METHODS.update(before)


def test_files_that_extending_names_exist():
    text = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:mirrorflow|gpu_bench|tests|docs)/[\w./]+)`", text)
    assert len(named) > 15
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.slow
def test_the_wheel_works_where_nothing_else_is(tmp_path):
    """Built in a copy; installed without dependencies beside this environment's numpy and scipy."""
    source, target = tmp_path / "source", tmp_path / "target"
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    for name in tracked:
        if name.startswith(("mirrorflow/", "gpu_bench/")) or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("mirrorflow-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True)
    about = (next(target.glob("mirrorflow-*.dist-info")) / "METADATA").read_text(encoding="utf-8")
    needed = re.findall(r"^Requires-Dist: ([\w-]+)>=[\d.]+$", about, re.MULTILINE)
    assert sorted(needed) == ["numba", "numpy", "scipy", "threadpoolctl"]
    assert f"\nVersion: {mf.__version__}\n" in about
    assert (target / "mirrorflow/py.typed").is_file()
    assert (target / "mirrorflow/runs/report/page.html").is_file()
    assert (target / "mirrorflow/runs/report/style.css").is_file()
    assert (target / "gpu_bench/py.typed").is_file()
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r})\n{LIGHT}{use_block()}print(mf.__file__)"
    )
    here = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert str(target) in here.stdout
    script = (target / "bin" / "mirrorflow").read_text(encoding="utf-8")
    assert "mirrorflow.__main__" in script
