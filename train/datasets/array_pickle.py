"""Safe reader for pickles that contain plain values and NumPy arrays.

A pickle is a program: the standard reader calls any function that the file names, and reserves any memory that the file
states. This reader allows only the few functions that NumPy uses for its arrays, under the module names of NumPy 1 and
2, and rejects all others. It first scans the file for sizes that exceed those of the file.
"""

import pickle
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from records.pickle_limits import check_pickle

ARRAY_TYPE = "numpy.ndarray"  # replaces the class, which is an argument of _reconstruct and must not be called


class ForbiddenGlobal(pickle.UnpicklingError):
    """A function in a pickle that no array needs; the message is its name."""


def load_arrays(file: IO[bytes], size: int) -> Any:
    """Load a pickle of `size` bytes. Raises ForbiddenGlobal, or any error of the standard reader if it is damaged."""
    check_pickle(file, size)
    file.seek(0)
    return _ArrayUnpickler(file, encoding="latin1").load()  # latin1: strings and arrays written by Python 2


def _latin1(text: str, encoding: str) -> bytes:
    """Make bytes from text: pickles of protocol 2 call _codecs.encode for it."""
    if encoding != "latin1":
        raise ForbiddenGlobal(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


def _empty(kind: str, shape: tuple[int, ...], code: bytes) -> np.ndarray:
    """Return the empty array that a pickle fills later."""
    if kind != ARRAY_TYPE or shape != (0,):
        raise ForbiddenGlobal(f"_reconstruct({kind!r}, {shape!r}, …)")
    return np.ndarray(shape, np.int8)


def _allowed_globals() -> dict[str, Any]:
    """Return all functions an array may use; NumPy's private ones are obtained by reducing an array."""
    array = np.zeros(1)
    allowed: dict[str, Any] = {"numpy.ndarray": ARRAY_TYPE, "numpy.dtype": np.dtype, "_codecs.encode": _latin1}
    scalar = _constructor(array[0].__reduce__())
    for core in ("numpy.core", "numpy._core"):
        allowed[f"{core}.multiarray._reconstruct"] = _empty
        allowed[f"{core}.multiarray.scalar"] = lambda dtype, data: scalar(dtype, data)
        allowed[f"{core}.numeric._frombuffer"] = _constructor(array.__reduce_ex__(5))
    return allowed


def _constructor(reduced: Any) -> Callable:
    return reduced[0]


_ALLOWED_GLOBALS = _allowed_globals()


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED_GLOBALS[f"{module}.{name}"]
        except KeyError:
            raise ForbiddenGlobal(f"{module}.{name}") from None
