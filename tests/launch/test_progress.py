"""Progress bars of a study's jobs."""

import time

from launch.progress import counting_bar


def test_a_finished_bar_stops_its_clock(capsys):
    counts = iter([0, 4, 4])
    with counting_bar("training", 4, "step", lambda: next(counts)) as refresh:
        refresh()
        finished = capsys.readouterr().err
        time.sleep(1.1)
        refresh()
    assert "training: 100 %, 4 of 4 steps, 0." in finished and capsys.readouterr().err == ""


def test_steps_that_are_trained_again_are_neither_negative_nor_counted_as_done(capsys):
    counts = iter([20, 0, 30, 40])
    with counting_bar("training", 40, "step", lambda: next(counts)) as refresh:
        for _ in range(3):
            time.sleep(0.05)
            refresh()
    output = capsys.readouterr().err
    assert "100 %, 40 of 40 steps" in output and "-" not in output
