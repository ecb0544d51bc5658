"""Progress in log files and on terminals, readable amounts and rates."""

import sys

import pytest

from records import progress as module
from records.progress import amount, progress, speed


@pytest.fixture(autouse=True)
def no_delay(monkeypatch):
    """Print a line for each update."""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0)


def test_log_file_contains_complete_lines(capsys):
    with progress("training seed 0", 1400, "step", done=10) as bar:
        bar.set_postfix({"loss": "0.5"}, refresh=False)
        bar.update(690)
    output = capsys.readouterr().err
    first, *_, last = output.splitlines()
    assert first == "training seed 0: 1 %, 10 of 1,400 steps, 0.0 s elapsed"
    assert last.startswith("training seed 0: 50 %, 700 of 1,400 steps, 0.0 s elapsed, 0.0 s left, ")
    assert last.endswith("steps/s, loss=0.5") and not {"\r", "\x1b", "|"} & set(output)


def test_terminal_shows_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("analyzing", 4, "checkpoint") as bar:
        bar.update(2)
        bar.refresh()
    output = capsys.readouterr().err
    assert "\r" in output and "analyzing:  50 % |" in output and "2 of 4 checkpoints" in output


def test_progress_with_unknown_total_shows_the_amount(capsys):
    with progress("downloading", 0, "B") as bar:
        bar.update(2_500_000)
        bar.total = 5_000_000
        bar.refresh()
    unknown, *_, known = [line for line in capsys.readouterr().err.splitlines() if "2.5 MB" in line]
    assert unknown.startswith("downloading: 0 %, 2.5 MB, 0.0 s elapsed, ")
    assert known.startswith("downloading: 50 %, 2.5 MB of 5 MB, 0.0 s elapsed, 0.0 s left, ")


def test_current_work_is_named_at_most_once_per_interval(capsys, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 60)
    with progress("analyzing", 2, "checkpoint") as bar:
        for name in ("samples", "latents", "cka"):
            bar.name_work(name)
    assert [line.rpartition(", ")[2] for line in capsys.readouterr().err.splitlines()] == [
        "0.0 s elapsed",
        "samples",
        "cka",
    ]


def test_hidden_progress_prints_nothing(capsys):
    with progress("training", 4, "step", shown=False) as bar:
        bar.name_work("samples")
        bar.update(4)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("rate", "unit", "expected"),
    [
        (1.274, "step", "1.27 steps/s"),
        (0.01, "checkpoint", "2 min per checkpoint"),
        (12_300, "image·step", "12.3k image·steps/s"),
        (3.2e6, "B", "3.2 MB/s"),
    ],
)
def test_rates_below_one_per_second_are_shown_as_durations(rate, unit, expected):
    assert speed(rate, unit) == expected


def test_amounts_are_readable():
    assert [amount(1, "step"), amount(1400, "step"), amount(1.7e8, "B"), amount(1.23e6, "image·step")] == [
        "1 step",
        "1,400 steps",
        "170 MB",
        "1.23M image·steps",
    ]
