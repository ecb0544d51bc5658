"""Progress that reads well on a terminal and in a log file."""

import sys
from typing import TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0


class _Lines:
    """A stream that gets a line where a terminal would have its current one overwritten."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> None:
        if text.strip():
            self.stream.write(text.strip() + "\n")

    def flush(self) -> None:
        self.stream.flush()


def progress(what: str, total: int, unit: str, done: int = 0, shown: bool = True) -> tqdm:
    """A bar on a terminal; elsewhere a line every quarter of a minute."""
    live = sys.stderr.isatty()
    return tqdm(
        desc=what,
        total=total,
        initial=done,
        disable=not shown,
        unit=f" {unit}",
        file=sys.stderr if live else _Lines(sys.stderr),
        mininterval=0.1 if live else SECONDS_BETWEEN_LINES,
        dynamic_ncols=live,
        ncols=None if live else 100,
        smoothing=0.1,
        position=None if live else 0,  # no moving between lines where there are none
    )
