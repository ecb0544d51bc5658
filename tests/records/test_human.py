"""Readable sizes, durations and fractions."""

import pytest

from records.human import human_percent, human_size, human_time


@pytest.mark.parametrize(
    ("size", "expected"), [(999, "999 B"), (420_400_000, "420 MB"), (1.5e9, "1.5 GB"), (3e15, "3e+03 TB")]
)
def test_human_size(size, expected):
    assert human_size(size) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.7, "1 min"),
        (3599, "1 h 0 min"),
        (12_000, "3 h 20 min"),
        (86_399, "1 d 0 h"),
        (446_400, "5 d 4 h"),
        (86_400 * 364.99, "1.0 years"),
        (86_400 * 2117, "5.8 years"),
    ],
)
def test_human_time(seconds, expected):
    assert human_time(seconds) == expected


def test_human_percent():
    assert [human_percent(fraction) for fraction in (0, 0.126, 1.08)] == ["0 %", "13 %", "108 %"]
