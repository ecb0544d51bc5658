"""Progress: lines in a log file, a bar on a terminal, amounts and times for people."""

import sys

import pytest

from records import progress as module
from records.progress import amount, progress, speed


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Every change is said."""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0)


def test_a_log_file_gets_lines_that_stand_alone(capsys):
    with progress("training seed 0", 1400, "step", done=10) as bar:
        bar.set_postfix({"loss": "0.5"}, refresh=False)
        bar.update(690)
    said = capsys.readouterr().err
    first, *_, last = said.splitlines()
    assert first == "training seed 0: 1 %, 10 of 1,400 steps, 0.0 s gone, ? left, ?"
    assert last.startswith("training seed 0: 50 %, 700 of 1,400 steps, 0.0 s gone, 0.0 s left, ")
    assert last.endswith("steps/s, loss=0.5") and not {"\r", "\x1b", "|"} & set(said)


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("analysing", 4, "checkpoint") as bar:
        bar.update(2)
        bar.refresh()
    said = capsys.readouterr().err
    assert "\r" in said and "analysing:  50 % |" in said and "2 of 4 checkpoints" in said


def test_what_has_no_known_end_says_how_far_it_is(capsys):
    with progress("downloading", 0, "B") as bar:
        bar.update(2_500_000)
    assert "2.5 MB of ?" in capsys.readouterr().err.splitlines()[-1]


def test_nothing_is_said_where_it_is_not_shown(capsys):
    with progress("training", 4, "step", shown=False) as bar:
        bar.update(4)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("rate", "unit", "expected"),
    [
        (0, "step", "?"),
        (1.274, "step", "1.27 steps/s"),
        (0.01, "checkpoint", "2 min a checkpoint"),
        (12_300, "image·step", "12.3k image·steps/s"),
        (3.2e6, "B", "3.2 MB/s"),
    ],
)
def test_slow_things_are_said_by_how_long_one_takes(rate, unit, expected):
    assert speed(rate, unit) == expected


def test_amounts():
    assert [amount(1, "step"), amount(1400, "step"), amount(1.7e8, "B"), amount(1.23e6, "image·step")] == [
        "1 step",
        "1,400 steps",
        "170 MB",
        "1.23M image·steps",
    ]
