"""Pickles of plain values and numpy arrays, read without letting them call anything else.

A pickle is a program: the ordinary reader calls whatever function a file names. This one knows the few that numpy
names for its arrays, under the module names of numpy 1 and 2, and refuses a file at the first other one.
"""

import pickle
from collections.abc import Callable
from typing import IO, Any

import numpy as np


class RefusedGlobal(pickle.UnpicklingError):
    """The file names something that no array needs; the message is its name."""


def load_arrays(file: IO[bytes]) -> Any:
    """What a pickle holds. Raises RefusedGlobal, or any error of the reader where the file is damaged."""
    return _ArrayUnpickler(file, encoding="latin1").load()  # latin1: strings and arrays of Python 2


def _latin1(text: str, encoding: str) -> bytes:
    """What a pickle of protocol 2 calls to make bytes."""
    if encoding != "latin1":
        raise RefusedGlobal(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


def _allowed() -> dict[str, Any]:
    """What an array may name. numpy's own functions are taken from what an array says of itself."""
    array = np.zeros(1)
    known: dict[str, Any] = {"numpy.ndarray": np.ndarray, "numpy.dtype": np.dtype, "_codecs.encode": _latin1}
    for core in ("numpy.core", "numpy._core"):
        known[f"{core}.multiarray._reconstruct"] = _function(array.__reduce__())
        known[f"{core}.multiarray.scalar"] = _function(array[0].__reduce__())
        known[f"{core}.numeric._frombuffer"] = _function(array.__reduce_ex__(5))
    return known


def _function(reduced: Any) -> Callable:
    return reduced[0]


_ALLOWED = _allowed()


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[f"{module}.{name}"]
        except KeyError:
            raise RefusedGlobal(f"{module}.{name}") from None
