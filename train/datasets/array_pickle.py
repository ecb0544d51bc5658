"""Safe reader for pickles that contain plain values and NumPy arrays.

A pickle is a program: the standard reader calls any function that the file names. This reader allows only the few
functions that NumPy uses for its arrays, under the module names of NumPy 1 and 2, and rejects all others.
"""

import pickle
from collections.abc import Callable
from typing import IO, Any

import numpy as np


class ForbiddenGlobal(pickle.UnpicklingError):
    """A function in a pickle that no array needs; the message is its name."""


def load_arrays(file: IO[bytes]) -> Any:
    """Load a pickle. Raises ForbiddenGlobal, or any error of the standard reader if the file is damaged."""
    return _ArrayUnpickler(file, encoding="latin1").load()  # latin1: strings and arrays written by Python 2


def _latin1(text: str, encoding: str) -> bytes:
    """Make bytes from text: pickles of protocol 2 call _codecs.encode for it."""
    if encoding != "latin1":
        raise ForbiddenGlobal(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


def _allowed_globals() -> dict[str, Any]:
    """Return all functions an array may use; NumPy's private ones are obtained by reducing an array."""
    array = np.zeros(1)
    allowed: dict[str, Any] = {"numpy.ndarray": np.ndarray, "numpy.dtype": np.dtype, "_codecs.encode": _latin1}
    for core in ("numpy.core", "numpy._core"):
        allowed[f"{core}.multiarray._reconstruct"] = _constructor(array.__reduce__())
        allowed[f"{core}.multiarray.scalar"] = _constructor(array[0].__reduce__())
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
