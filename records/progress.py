"""Progress that reads well on a terminal and in a log file."""

import sys
from typing import Any, TextIO

from tqdm import tqdm

from records.human import human_size, human_time

SECONDS_BETWEEN_LINES = 15.0
BAR = "{desc}: {percentage:3.0f} % |{bar}| {done} of {of}, {left} left, {speed}{postfix}"
LINE = "{desc}: {percentage:.0f} %, {done} of {of}, {gone} gone, {left} left, {speed}{postfix}"


class _Lines:
    """A stream that gets a line where a terminal would have its current one overwritten."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> None:
        if text.strip():
            self.stream.write(text.strip() + "\n")

    def flush(self) -> None:
        self.stream.flush()


class _Bar(tqdm):
    """tqdm with amounts, times and speeds as people say them."""

    @property
    def format_dict(self) -> dict[str, Any]:
        told = dict(super().format_dict)
        n, total, gone_s, unit = told["n"], told["total"] or 0, told["elapsed"], told["unit"]
        rate = told["rate"] or (n - told["initial"]) / max(gone_s, 1e-9)
        return told | {
            "done": amount(n, "" if total else unit),
            "of": amount(total, unit) if total else "?",
            "gone": human_time(gone_s),
            "left": human_time(max(total - n, 0) / rate) if total and rate else "?",
            "speed": speed(rate, unit),
        }


def progress(what: str, total: int, unit: str, done: int = 0, shown: bool = True) -> tqdm:
    """A bar on a terminal; elsewhere a line every quarter of a minute. `unit` is one of what is counted; "B" bytes."""
    live = sys.stderr.isatty()
    return _Bar(
        desc=what,
        total=total,
        initial=done,
        disable=not shown,
        unit=unit,
        bar_format=BAR if live else LINE,
        file=sys.stderr if live else _Lines(sys.stderr),
        mininterval=0.1 if live else SECONDS_BETWEEN_LINES,
        dynamic_ncols=live,
        smoothing=0.1,
        position=None if live else 0,  # no moving between lines where there are none
    )


def amount(number: float, unit: str) -> str:
    """A number of things: "1,400 steps", "170 MB", "1.23M image·steps"."""
    if unit == "B":
        return human_size(number)
    shown = f"{number:,.0f}" if number < 1e6 else tqdm.format_sizeof(number)
    return f"{shown} {unit}{'' if number == 1 else 's'}" if unit else shown


def speed(rate: float, unit: str) -> str:
    """How many a second, or how long each takes."""
    if not rate:
        return "?"
    if unit == "B":
        return f"{human_size(rate)}/s"
    if rate < 1:
        return f"{human_time(1 / rate)} a {unit}"
    return f"{rate:.3g} {unit}s/s" if rate < 1000 else f"{tqdm.format_sizeof(rate)} {unit}s/s"
