"""Compilation by Numba: its options, and the types of the functions that integrators call.

Compiled code is kept on disk, so a machine compiles once. Where Numba is missing or can't compile
them, or `NUMBA_DISABLE_JIT=1`, the same functions run as Python, some 500 times slower.

Three things that cost a factor of 2 to 10 where they are not heeded:

- LLVM vectorises no loop whose index might count from the end, so bounds that start late are
  unsigned (`np.uintp`).
- `forceinline` keeps a function's own floating-point rules; Numba's `inline="always"` passes the
  caller's on, and reordered sums break the exponential.
- Literal whole numbers as arguments compile a function anew; `a[:] = b` makes it compile twice as
  long, so arrays are copied by loops.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["INTEGRATE", "KERNELS", "LOSS", "MAP", "NEWTON"]
__all__ += ["Kernel", "compile_apart", "exact", "inlined", "kernel", "loop", "vectorised"]

try:
    import numba
    from numba import types
except Exception as error:  # not there, as in a browser, or broken: LLVM's library does not load
    numba = None  # type: ignore[assignment]
    sys.stderr.write(
        f"mirrorflow: Numba can't be imported ({error}), so flows run as Python, some 500 times "
        "slower; pip install numba\n"
    )

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
PACKAGE = Path(__file__).parents[1]
LOOPS: list[Any] = []  # all that Numba has been given
LONGEST = 300.0  # seconds that compilation may take on a busy machine
COMPILES = "MIRRORFLOW_COMPILES"  # set in the process that compiles for the others
COMPILED = "compiled/*.py", "maps/*.py", "losses.py", "flows/[dm]*.py", "limits/newton.py"


@functools.cache
def digest() -> str:
    """SHA-256 of all that is compiled: a function's code holds that of the functions it calls."""
    files = sorted(file for pattern in COMPILED for file in PACKAGE.glob(pattern))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _compiler(**options: Any) -> Callable[..., Any]:
    """A decorator: compiled at once for a signature, or where it is first called."""

    def decorate(signature: Any) -> Any:
        if numba is None:
            return signature if callable(signature) else lambda function: function
        if callable(signature) and not isinstance(signature, types.Type):
            return _kept(signature, options)
        return lambda function: _compile(function, signature, options)

    return decorate


def _kept(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Compiled where it is called, and kept on disk where a folder can be written to."""
    try:
        compiled = numba.njit(cache=True, **OPTIONS, **options)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        compiled = numba.njit(**OPTIONS, **options)(function)
    LOOPS.append(compiled)
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if file is not None:  # Numba looks at the function's own file alone
        own = PACKAGE in Path(function.__code__.co_filename).parents
        file._source_stamp = digest() if own else (digest(), file._source_stamp)
    return compiled


def _compile(function: Callable[..., Any], signature: Any, options: dict[str, Any]) -> Any:
    compiled = _kept(function, options)
    if hasattr(compiled, "compile"):
        compiled.compile(signature)
        compiled.disable_compile()
    return compiled


@functools.cache
def compile_apart() -> None:
    """Let another process compile everything, where this machine has not kept it yet.

    Code that a process has compiled itself is linked in another order than code from disk, and may
    round differently; so every process takes it from disk.
    """
    folder = getattr(getattr(_probe, "_cache", None), "cache_path", None)
    if folder is None or COMPILES in os.environ:
        if hasattr(_probe, "py_func") and folder is None:
            text = "mirrorflow: compiling (some 30 s), in each process: no folder keeps what is "
            sys.stderr.write(text + "compiled; NUMBA_CACHE_DIR names one that can be written to\n")
        return
    done = Path(folder) / f"mirrorflow-{digest()[:16]}-{numba.__version__}-{_processor()}.done"
    if not done.exists() and _first(done.with_suffix(".lock")):
        program = "import mirrorflow.flows, mirrorflow.limits, mirrorflow.compiled.options as o; "
        program += "[kernel.address for kernel in o.KERNELS]"
        words = [sys.executable, "-W", "ignore", "-c", program]
        path = os.pathsep.join([str(PACKAGE.parent), *filter(None, sys.path)])
        where = {"PYTHONPATH": path, COMPILES: "1"}
        text = "mirrorflow: compiling its integrator, once on this machine (some 30 s)"
        notice = threading.Timer(2.0, print, [text], {"file": sys.stderr})
        notice.daemon = True
        notice.start()
        with contextlib.suppress(OSError):
            # what can't be compiled is said by whoever needs it
            env, quiet = os.environ | where, subprocess.DEVNULL
            if subprocess.run(words, env=env, stderr=quiet, check=False).returncode == 0:
                done.touch()
        notice.cancel()
        done.with_suffix(".lock").unlink(missing_ok=True)


def _first(lock: Path) -> bool:
    """Whether no other process compiles already; if one does, it is waited for."""
    with contextlib.suppress(OSError):  # a folder that can't be written to keeps nothing anyway
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            # one that was killed leaves its lock behind
            while lock.exists() and time.time() - lock.stat().st_mtime < LONGEST:
                time.sleep(0.1)
            return not lock.with_suffix(".done").exists()
    return True


# sums may be reordered, but nan and inf stay what they are
loop = _compiler(fastmath={"contract", "reassoc", "nsz"})
# for choices between functions: a level of calls less is compiled
inlined = _compiler(fastmath={"contract", "reassoc", "nsz"}, inline="always")
exact = _compiler(fastmath={"contract"}, forceinline=True)
vectorised = _compiler(fastmath=True)


class Kernel:
    """A function of a kind (MAP, LOSS, … below), compiled when its address is first asked for.

    Compiled code calls it by that address, Python calls it as a function of contiguous arrays. An
    address is looked up once; for a compiled function itself Numba would do so at every call, which
    takes as long as a tenth of a run.
    """

    def __init__(self, kind: str, function: Callable[..., Any]) -> None:
        self.kind, self.function = kind, function

    @functools.cached_property
    def address(self) -> Any:
        compile_apart()
        signature = globals()[self.kind]
        try:
            compiled = loop(signature)(self.function)
        except Exception as error:  # of Numba or LLVM, of any kind
            if COMPILES in os.environ:
                raise
            reason = next((s for s in str(error).splitlines() if not s.startswith("Failed in")), "")
            name = f"{self.function.__module__}.{self.function.__name__}"
            print(f"mirrorflow: {name} runs as Python, slowly: it can't be compiled ({reason})",
                  file=sys.stderr)  # fmt: skip
            compiled = _interpreted(self.function, self.kind, signature)
        if not hasattr(compiled, "get_compile_result"):  # runs as Python
            return compiled
        return types.CompileResultWAP(compiled.get_compile_result(signature))

    def __call__(self, *arguments: Any) -> Any:
        return self.address(*arguments)


def _interpreted(function: Callable[..., Any], kind: str, signature: Any) -> Any:
    """What takes the place of a kernel that can't be compiled, for compiled code if it can."""

    def of_map(parts: Any, low: Any, high: Any, total: Any, mu: Any, out: Any) -> None:
        with numba.objmode():
            function(parts, low, high, total, mu, out)

    def of_loss(z: Any, y: Any, parameter: Any, out: Any) -> None:
        with numba.objmode():
            function(z, y, parameter, out)

    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")  # that threads wait for each other here
        called = numba.njit(**OPTIONS)({"MAP": of_map, "LOSS": of_loss}[kind])
        called.compile(signature)
        return called
    for some in LOOPS:  # an integrator: with it all that it calls
        some._compile_for_args = lambda *_, plain=some.py_func: plain
    return function


KERNELS: list[Kernel] = []


def kernel(kind: str) -> Callable[[Callable[..., Any]], Kernel]:
    """A decorator for functions of a kind below; with "MAP" and "LOSS" compiled code gets them."""

    def decorate(function: Callable[..., Any]) -> Kernel:
        KERNELS.append(Kernel(kind, function))
        return KERNELS[-1]

    return decorate


if numba is None:
    MAP = LOSS = INTEGRATE = NEWTON = None
else:
    _number, _count = types.float64, types.uintp
    _vector, _matrix = types.float64[::1], types.float64[:, ::1]
    _cube, _whole = types.float64[:, :, ::1], types.int64[::1]
    _read_vector = types.Array(types.float64, 1, "C", readonly=True)
    _read_matrix = types.Array(types.float64, 2, "C", readonly=True)
    # rows of parts, first and last column, A, μ, rows to fill: see `maps`
    MAP = types.void(_matrix, _count, _count, _number, _vector, _matrix)
    # Zx, y, the loss's parameter, rows to fill: see `losses`
    LOSS = types.void(_vector, _vector, _number, _matrix)
    # what `multistep.integrate` gets: the arrays of a run (see `layout`), its schedule, and outputs
    INTEGRATE = types.int64(
        _read_matrix,
        _matrix,
        _matrix,
        _cube,
        _vector,
        types.FunctionType(MAP),
        types.FunctionType(LOSS),
        _matrix,
        _vector,
        _read_vector,
        _number,
        _matrix,
        _whole,
    )
    # what `limits.newton.follow` gets
    NEWTON = types.int64(
        _read_matrix,
        _read_matrix,
        _read_matrix,
        *(_matrix, _matrix, _matrix, _vector, _cube, _matrix, _vector),
        types.FunctionType(MAP),
        _read_vector,
        _read_vector,
        _matrix,
        _whole,
    )


@loop
def _probe() -> int:
    return 0


def _processor() -> str:
    from llvmlite.binding import get_host_cpu_name

    return str(get_host_cpu_name())
