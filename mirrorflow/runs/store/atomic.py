"""Files that hold the old content or the new, never a part.

A file's content is synced before its name changes. Its folder is not: file systems with a journal
keep the order of renames, so a power cut can only bring back the names of some seconds ago, with
whole files beneath them. A run that is lost that way is repeated; another sync would slow all.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from mirrorflow.checks import InputError

__all__ = ["atomic_write", "write_together"]


def atomic_write(path: Path, content: bytes) -> None:
    """Write, sync, rename.

    Parameters
    ----------
    path : Path
    content : bytes

    Raises
    ------
    InputError
        If the file can't be written: a full disk, a folder in the way, no permission. The old
        content is then still there, and nothing else is.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "note.txt"
    >>> atomic_write(path, b"whole")
    >>> path.read_text()
    'whole'
    """
    write_together({path: content})


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write files that belong together: all are complete on disk before the first is renamed.

    They are renamed in the order in which they are given, with nothing but renames in between.

    Raises
    ------
    InputError
        As `atomic_write`; if a file doesn't fit on the disk none is replaced.
    """
    staged = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in files}
    path = next(iter(files))
    try:
        for path, content in files.items():
            with staged[path].open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        for path, temporary in staged.items():
            temporary.replace(path)
    except OSError as error:
        for temporary in staged.values():
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise InputError(f"{path} can't be written ({error.strerror}).") from None
