"""Docstrings of public names: parameters, returns, raises, an example that runs as a doctest."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from functools import cache
from typing import Any

import pytest

MODULES = ["", "certificates", "commuting", "descent", "descent.mean_square", "descent.signs"]
MODULES += ["descent.stochastic", "estimator", "flows", "flows.quadrature", "limits", "losses"]
MODULES += ["maps", "pilot", "plots", "problems", "references", "results", "schedules", "stepwise"]
MODULES = [f"mirrorflow.{name}".rstrip(".") for name in MODULES]
MODULES += [f"gpu_bench.{name}" for name in ("data", "exports", "masks", "methods", "models")]


@cache
def public() -> dict[str, Any]:
    """Each public function and class once, under its shortest name."""
    found: dict[int, tuple[str, Any]] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        for one in module.__all__:
            value = getattr(module, one)
            if inspect.isfunction(value) or inspect.isclass(value):
                found.setdefault(id(value), (f"{name}.{one}", value))
    return dict(found.values())


def sections(value: Any) -> dict[str, str]:
    """Text below each underlined heading of a docstring; "" is what stands above the first."""
    parts = re.split(r"^([A-Z]\w+)\n-+$", inspect.getdoc(value) or "", flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def refuses(function: Any, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a function raises InputError itself, by a check, or by a function of its module."""
    function = inspect.unwrap(function)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        called = function.__globals__.get(node.func.id)
        home = getattr(called, "__module__", None)
        if home == "mirrorflow.checks" and called.__name__ not in ("brief", "meant", "freeze"):
            return True
        inside = inspect.isfunction(called) and home == function.__module__
        if inside and called.__name__ not in seen and refuses(called, seen | {called.__name__}):
            return True
    return False


def lacking(value: Any) -> list[str]:
    """What of numpydoc's sections a public name must have and has not."""
    found, lacks = sections(value), []
    if ">>>" not in found.get("Examples", "") + found[""]:
        lacks.append("Examples")
    if inspect.isclass(value):
        made = {} if issubclass(value, Exception) else inspect.signature(value).parameters
        if made and not {"Parameters", "Attributes", "Notes"} & found.keys():
            lacks.append("Parameters")
        return sorted(lacks)
    signature = inspect.signature(value)
    described = re.findall(r"^([*\w, ]+?)(?: :|$)", found.get("Parameters", ""), re.MULTILINE)
    names = {name.strip(" *") for line in described for name in line.split(",")}
    lacks += ["Parameters"] * (not signature.parameters.keys() <= names)
    returned = signature.return_annotation not in (None, "None", inspect.Signature.empty)
    lacks += ["Returns"] * (returned and not {"Returns", "Yields"} & found.keys())
    lacks += ["Raises"] * (refuses(value) and "Raises" not in found)
    return sorted(lacks)


@pytest.mark.parametrize("name", public())
def test_public_names_are_documented(name):
    assert lacking(public()[name]) == []


def test_many_names_are_looked_at():
    assert len(public()) > 200
