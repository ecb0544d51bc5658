"""Work spread over several processes, its results in order and few of them in memory."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from configs.errors import UserError

WAITING = 4  # tasks given out, a process

Task = TypeVar("Task")
Result = TypeVar("Result")


def results_in_order(
    work: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Generator[Result, None, None]:
    """`work` of each task, in the order of the tasks, by so many processes; 0: one a core that this one may use."""
    workers = min(workers or len(os.sched_getaffinity(0)), len(tasks))
    if workers <= 1:
        yield from map(work, tasks)
        return
    # New processes rather than forks, which would copy the threads' locks of torch in whatever state they are.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_follow_parent)
    try:
        yield from _windowed(pool, work, tasks, workers * WAITING)
    except BrokenProcessPool:
        raise UserError(
            "a process that read images was ended from outside, most likely for want of memory; "
            "use fewer of them with data.workers="
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _windowed(
    pool: ProcessPoolExecutor, work: Callable[[Task], Result], tasks: Iterable[Task], window: int
) -> Generator[Result, None, None]:
    running: deque[Future[Result]] = deque()
    for task in tasks:
        running.append(pool.submit(work, task))
        if len(running) >= window:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _follow_parent() -> None:
    """Leaves Ctrl-C to the parent, and ends when the parent does, even if that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
