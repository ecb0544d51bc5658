"""Limits of pickles, which can describe more content than fits into memory even if no function is called."""

import pickletools
from typing import IO

MAX_OPCODES = 1_000_000  # the largest files have a tenth of them
MAX_TUPLES = 100_000  # deeply nested ones crash Python


class _Limited:
    """A file from which the scanner may request any number of bytes."""

    def __init__(self, file: IO[bytes], size: int):
        self.file, self.size = file, size

    def read(self, count: int) -> bytes:
        return self.file.read(min(count, self.size))

    def readline(self) -> bytes:
        return self.file.readline()


def check_pickle(file: IO[bytes], size: int) -> None:
    """Scan a pickle in a file of `size` bytes, without executing it, and leave the file at its end.

    Raises ValueError if it is damaged, has too many operations, or states a length beyond the size.
    """
    tuples = 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(_Limited(file, size))):  # type: ignore[arg-type]
        tuples += opcode.name.startswith("TUPLE")
        if opcode.name in ("FRAME", "PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > size:
            raise ValueError(f"{opcode.name} {argument} exceeds the size of the file")
        if argument in ("bytearray", "builtins bytearray"):
            raise ValueError("it calls bytearray, which reserves any memory")
        if number > MAX_OPCODES or tuples > MAX_TUPLES:
            raise ValueError("it contains too many objects")
