"""Tests that background work runs in order, is never lost, and propagates its errors."""

import threading

import pytest

from analyze.background import BackgroundWorker


@pytest.mark.parametrize("overlap", [True, False])
def test_functions_run_in_order(overlap):
    results = []
    with BackgroundWorker(overlap) as worker:
        for number in range(5):
            worker.submit(results.append, number)
    assert results == list(range(5))


def test_submit_waits_for_the_pending_function_only():
    started, may_finish = threading.Event(), threading.Event()
    results = []

    def slow():
        started.set()
        assert may_finish.wait(10)
        results.append("slow")

    with BackgroundWorker(True) as worker:
        worker.submit(slow)
        assert started.wait(10) and results == []
        threading.Timer(0.1, may_finish.set).start()
        worker.submit(lambda: results.append("next"))
        assert results[0] == "slow"


@pytest.mark.parametrize("overlap", [True, False])
def test_an_error_is_raised_in_the_calling_thread(overlap):
    def fail():
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"), BackgroundWorker(overlap) as worker:
        worker.submit(fail)


def test_an_error_of_the_caller_takes_precedence():
    def fail():
        raise OSError("no space left")

    with pytest.raises(KeyboardInterrupt), BackgroundWorker(True) as worker:
        worker.submit(fail)
        raise KeyboardInterrupt
