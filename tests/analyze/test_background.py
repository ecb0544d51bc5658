"""Work beside other work: one after the other, none lost, and what goes wrong is told."""

import threading

import pytest

from analyze.background import BackgroundWorker


@pytest.mark.parametrize("in_a_thread", [True, False])
def test_all_is_done_in_turn(in_a_thread):
    done = []
    with BackgroundWorker(in_a_thread) as worker:
        for number in range(5):
            worker.submit(done.append, number)
    assert done == list(range(5))


def test_the_caller_goes_on_meanwhile_but_only_by_one():
    begun, may_end = threading.Event(), threading.Event()
    done = []

    def slow():
        begun.set()
        assert may_end.wait(10)
        done.append("slow")

    with BackgroundWorker(True) as worker:
        worker.submit(slow)
        assert begun.wait(10) and done == []
        threading.Timer(0.1, may_end.set).start()
        worker.submit(lambda: done.append("next"))
        assert done[0] == "slow"


@pytest.mark.parametrize("in_a_thread", [True, False])
def test_what_is_raised_arrives(in_a_thread):
    def failing():
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"), BackgroundWorker(in_a_thread) as worker:
        worker.submit(failing)


def test_an_error_of_the_caller_is_not_hidden_by_one_beside_it():
    def failing():
        raise OSError("no space left")

    with pytest.raises(KeyboardInterrupt), BackgroundWorker(True) as worker:
        worker.submit(failing)
        raise KeyboardInterrupt
