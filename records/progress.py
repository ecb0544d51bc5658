"""Progress bars for terminals and log files."""

import math
import sys
import time
from typing import Any, TextIO

from tqdm import tqdm

from records.human import human_size, human_time

SECONDS_BETWEEN_LINES = 15.0
BAR = "{desc}: {percentage:3.0f} % |{bar}| {done}{left}{speed}{postfix}"
LINE = "{desc}: {percentage:.0f} %, {done}, {duration} elapsed{left}{speed}{postfix}"


class _Lines:
    """A stream that starts a new line where a terminal would overwrite the current one."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> None:
        if text.strip():
            self.stream.write(text.strip() + "\n")

    def flush(self) -> None:
        self.stream.flush()


class _Bar(tqdm):
    """tqdm with readable amounts, durations and speeds."""

    named_s = -math.inf  # time of the last display of a name
    skipped_s = 0.0  # time that does not count for the speed

    @property
    def format_dict(self) -> dict[str, Any]:
        values = dict(super().format_dict)
        n, total, elapsed_s, unit = values["n"], values["total"] or 0, values["elapsed"], values["unit"]
        rate = values["rate"] or (n - values["initial"]) / max(elapsed_s - self.skipped_s, 1e-9)
        return values | {
            "done": f"{amount(n, unit if unit == 'B' else '')} of {amount(total, unit)}" if total else amount(n, unit),
            "duration": human_time(elapsed_s),
            "left": f", {human_time((total - n) / rate)} left" if rate and n < total else "",
            "speed": f", {speed(rate, unit)}" if rate else "",
        }

    def skip_to(self, done: int) -> None:
        """Continue from an amount of work whose time does not count for the speed."""
        self.initial = self.n = self.last_print_n = done
        self.last_print_t = time.time()
        self.skipped_s = self.last_print_t - self.start_t
        self.refresh()

    def name_work(self, name: str) -> None:
        """Show the name of the current work; in a log file, at most every 15 s."""
        if self.disable:
            return
        is_due = time.monotonic() - self.named_s >= self.mininterval
        if is_due:
            self.named_s = time.monotonic()
        self.set_postfix_str(name, refresh=is_due)


def progress(what: str, total: int, unit: str, done: int = 0, shown: bool = True) -> _Bar:
    """Return a progress bar on a terminal, or a line every 15 s elsewhere. `unit` is singular; "B" counts bytes."""
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
        position=None if live else 0,  # no cursor movement in a log file
    )


def amount(number: float, unit: str = "") -> str:
    """Format a number with its unit: "1,400 steps", "170 MB", "1.23M image·steps"."""
    if unit == "B":
        return human_size(number)
    text = f"{number:,.0f}" if number < 1e6 else tqdm.format_sizeof(number)
    return f"{text} {unit}{'' if number == 1 else 's'}" if unit else text


def speed(rate: float, unit: str) -> str:
    """Format a rate as "1.27 steps/s" or, if below 1 per second, as "2 min per checkpoint"."""
    if unit == "B":
        return f"{human_size(rate)}/s"
    if rate < 1:
        return f"{human_time(1 / rate)} per {unit}"
    return f"{rate:.3g} {unit}s/s" if rate < 1000 else f"{tqdm.format_sizeof(rate)} {unit}s/s"
