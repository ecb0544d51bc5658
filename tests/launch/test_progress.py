"""Progress bars of a study's jobs."""

import re
import time

from launch.progress import counting_bar
from records import progress


def test_a_finished_bar_stops_its_clock(capsys):
    counts = iter([0, 4, 4])
    with counting_bar("training", 4, "step", lambda: next(counts)) as refresh:
        refresh()
        finished = capsys.readouterr().err
        time.sleep(1.1)
        refresh()
    assert "training: 100 %, 4 of 4 steps, 0." in finished and capsys.readouterr().err == ""


def test_steps_that_are_trained_again_are_not_counted_as_done(capsys):
    counts = iter([20, 10, 40])
    with counting_bar("training", 40, "step", lambda: next(counts)) as refresh:
        refresh()
        assert "training: 25 %, 10 of 40 steps, 0.0 s elapsed" in capsys.readouterr().err
        time.sleep(0.1)
        refresh()
    speed = re.search(r"40 of 40 steps, 0\.\d s elapsed, (\d+) steps/s", capsys.readouterr().err)
    assert speed is not None and int(speed[1]) < 30 / 0.1


def test_time_before_the_first_count_is_not_part_of_the_speed(capsys, monkeypatch):
    counts = iter([0, 0, 1, 2, 3])
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    with counting_bar("analyzing", 100, "checkpoint", lambda: next(counts)) as refresh:
        refresh()
        time.sleep(1)
        for _ in range(3):
            refresh()
            time.sleep(0.05)
    lines = capsys.readouterr().err.splitlines()
    first, second = (next(line for line in lines if f"{count} of" in line) for count in (1, 2))
    assert first.endswith("elapsed")
    assert all(float(re.search(r"([\d.]+) checkpoints/s", line)[1]) > 5 for line in (second, lines[-1]))
