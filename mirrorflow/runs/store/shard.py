"""One finished run as one file: a digest, a line of JSON, the numbers of its arrays.

    64 hexadecimal digits, \\n         SHA-256 of all that follows
    {"row": {…}, "arrays": […]}, \\n   the row; name, dtype and shape of each array
    bytes                             the arrays one after the other, C order

One file is one fsync, and the digest tells in one pass whether a run is finished and whole.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping

import numpy as np

from mirrorflow.checks import Array
from mirrorflow.runs.store.run import Row

__all__ = ["LARGEST_ROW", "decode", "encode"]

LARGEST_ROW = 2**20  # bytes of the line of JSON; a row holds some hundred numbers
DIGEST = 64  # hexadecimal digits
NUMBERS = re.compile(r"[<>|][fiub]\d{1,2}")


def encode(row: Row, arrays: Mapping[str, Array]) -> bytes:
    """The file of a run.

    Raises
    ------
    ValueError
        If an array holds anything but real numbers, or the row is too large to be read back.
    """
    plain = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in plain.items():
        if not NUMBERS.fullmatch(array.dtype.str):
            raise ValueError(f"{name} must hold real numbers, but its dtype is {array.dtype}.")
    described = [[name, array.dtype.str, array.shape] for name, array in plain.items()]
    head = json.dumps({"row": row, "arrays": described}, allow_nan=True).encode() + b"\n"
    if len(head) > LARGEST_ROW:
        raise ValueError(f"a row must have at most {LARGEST_ROW} bytes, but it has {len(head)}.")
    body = head + b"".join(array.tobytes() for array in plain.values())
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def decode(content: bytes) -> tuple[Row, dict[str, Array]]:
    """Row and arrays of a run's file.

    Raises
    ------
    ValueError
        If it is not whole, or claims what it doesn't hold.
    """
    body = memoryview(content)[DIGEST + 1 :]
    if content[: DIGEST + 1] != hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise ValueError("the digest differs")
    end = content.find(b"\n", DIGEST + 1, DIGEST + 1 + LARGEST_ROW)
    try:
        head = json.loads(content[DIGEST + 1 : end]) if end >= 0 else {}
        row, at, arrays = head["row"], end + 1, {}
        for name, dtype, shape in head["arrays"]:
            if not NUMBERS.fullmatch(dtype) or any(type(n) is not int or n < 0 for n in shape):
                raise ValueError(f"{name} is no array of real numbers")
            size = math.prod(shape) * np.dtype(dtype).itemsize
            # a copy of its own: numbers in the file's bytes may lie at odd addresses
            array = np.frombuffer(content[at : at + size], dtype).reshape(shape).copy()
            arrays[str(name)] = array
            at += size
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"damaged ({error})") from None
    if at != len(content):
        raise ValueError("more or less than its arrays")
    if not isinstance(row, dict):
        raise ValueError("no row")
    return row, arrays
