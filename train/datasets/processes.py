"""Parallel map over several processes, in order and with few results in memory."""

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
from records.cores import available_cores

TASKS_PER_WORKER = 4  # submitted at a time

Task = TypeVar("Task")
Result = TypeVar("Result")


def parallel_map(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Generator[Result, None, None]:
    """Yield work(task) for each task, in order, from `workers` processes; 0 means one per available core.

    Raises UserError if a process is killed.
    """
    workers = min(workers or available_cores(), len(tasks))
    if workers <= 1:
        yield from map(work, tasks)
        return
    # Spawn, because a fork would copy the locks of PyTorch's threads in an arbitrary state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_follow_parent)
    try:
        yield from _windowed_map(pool, work, tasks, workers * TASKS_PER_WORKER)
    except BrokenProcessPool:
        raise UserError(
            "a process that reads images was killed, probably because memory ran out; "
            "use fewer processes with data.workers="
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _windowed_map(
    pool: ProcessPoolExecutor, work: Callable[[Task], Result], tasks: Iterable[Task], window: int
) -> Generator[Result, None, None]:
    futures: deque[Future[Result]] = deque()
    for task in tasks:
        futures.append(pool.submit(work, task))
        if len(futures) >= window:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent process, and exit when the parent exits, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
