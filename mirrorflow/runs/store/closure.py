"""Digest of code: the modules that computing a row imports, found from the imports themselves."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

__all__ = ["closure", "code_digest"]

PACKAGES = ("mirrorflow", "gpu_bench")
TYPING_ONLY = ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def code_digest(*modules: str) -> str:
    """SHA-256 over name and content of every module in the `closure` of these.

    Parameters
    ----------
    *modules : str
        Dotted names.

    Returns
    -------
    str
        Hexadecimal digits.

    Examples
    --------
    >>> code_digest("mirrorflow.rowspace") == code_digest("mirrorflow.rowspace")
    True
    """
    digest = hashlib.sha256()
    for name, content in sorted(closure(*modules).items()):
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()


def closure(*modules: str) -> dict[str, bytes]:
    """Modules, and what they import of mirrorflow, gpu_bench and their own packages.

    Imports inside functions count, those under `if TYPE_CHECKING` don't. A package is followed
    only as far as names are taken from it: `from mirrorflow import limits` leads to
    `mirrorflow.limits`, a name that an `__init__.py` passes on leads to where it is from, and
    one that an `__init__.py` makes itself to all that this file imports.

    Returns
    -------
    dict of str to bytes
        Name and content of each module.
    """
    result = _Closure({*PACKAGES, *(module.partition(".")[0] for module in modules)})
    for module in modules:
        result.follow(module)
    return result.contents


class _Closure:
    def __init__(self, packages: set[str]) -> None:
        self.contents: dict[str, bytes] = {}
        self._packages = packages
        self._followed: set[str] = set()

    def follow(self, module: str) -> None:
        """Add a module and all that it imports."""
        path = self._path(module)
        if path is None or module in self._followed:
            return
        self._followed.add(module)
        self.contents[module] = path.read_bytes()
        tree, imports = _parsed(self.contents[module])
        for node in imports:
            for alias in node.names:
                if isinstance(node, ast.ImportFrom):
                    self._take(_source(node, module, path), alias.name)
                else:
                    self._take_attributes(alias, tree)

    def _take(self, source: str, name: str) -> None:
        """Add what `from source import name` loads."""
        path = self._path(source)
        if path is not None and path.name == "__init__.py":
            content = path.read_bytes()
            # also what it imports for type checkers alone: a lazy package loads that by name
            for node in ast.walk(_parsed(content)[0]):
                if isinstance(node, ast.ImportFrom):
                    origin = _source(node, source, path)
                    for alias in node.names:
                        if name == (alias.asname or alias.name) and origin != source:
                            self.contents[source] = content
                            self._take(origin, alias.name)
                            return
            if self._path(f"{source}.{name}") is not None:
                source = f"{source}.{name}"
        self.follow(source)

    def _take_attributes(self, alias: ast.alias, tree: ast.Module) -> None:
        """Add what `import a.b` loads, and what is then taken from it with a dot."""
        if alias.asname is None and "." in alias.name:
            self.follow(alias.name)
        bound = alias.asname or alias.name.partition(".")[0]
        source = alias.name if alias.asname else bound
        path = self._path(source)
        if path is not None and path.name != "__init__.py":
            self.follow(source)
        elif path is not None:
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == bound:
                    self._take(source, node.attr)

    def _path(self, module: str) -> Path | None:
        """The file of a module of the packages; None for anything else."""
        top, *rest = module.split(".")
        if top not in self._packages:
            return None
        root = Path(str(importlib.import_module(top).__file__))
        if not rest:
            return root
        base = root.parent.joinpath(*rest)
        for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if root.name == "__init__.py" and path.is_file():
                return path
        return None


@functools.lru_cache(maxsize=1024)
def _parsed(content: bytes) -> tuple[ast.Module, tuple[ast.Import | ast.ImportFrom, ...]]:
    """A file's syntax and its imports; a grid of many methods meets each file many times."""
    tree = ast.parse(content)
    return tree, tuple(_imports(tree))


def _imports(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test) in TYPING_ONLY:
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _source(node: ast.ImportFrom, module: str, path: Path) -> str:
    """The absolute name of what is imported from."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return importlib.util.resolve_name("." * node.level + (node.module or ""), package)
