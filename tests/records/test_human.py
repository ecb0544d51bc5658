"""Sizes and times as people say them."""

import pytest

from records.human import human_size, human_time


@pytest.mark.parametrize(
    ("size", "said"), [(999, "999 B"), (420_400_000, "420 MB"), (1.5e9, "1.5 GB"), (3e15, "3e+03 TB")]
)
def test_sizes(size, said):
    assert human_size(size) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
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
def test_times(seconds, said):
    assert human_time(seconds) == said
