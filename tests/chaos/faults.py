"""Faults that a study meets: each breaks a study on the way and returns the results of the commands that met it."""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from chaos.damage import damaged, delete, flip_bit, stopped_and_damaged, truncate
from chaos.judgement import Requirement, all_end_well, any_end, one_ends_well
from chaos.study import Result, Study, finish
from chaos.wandb_faults import ServerAnswers, server_gone, server_stops

HERE = Path(__file__).parent
DISK_KB = 200_000
Fault = Callable[[Study, random.Random, float], tuple[str, list[Result]]]  # study, chance, seconds of a whole launch


def signaled(number: int, whole_group: bool = False) -> Fault:
    """Return the fault that a launch receives a signal at a random moment, alone or with all its jobs."""

    def inject(study: Study, chance: random.Random, seconds: float) -> tuple[str, list[Result]]:
        process = study.start()
        after_s = chance.uniform(0.2, seconds)
        time.sleep(after_s)
        with suppress(ProcessLookupError):
            (os.killpg if whole_group else os.kill)(process.pid, number)
        return f"{signal.Signals(number).name} after {after_s:.1f} s", [finish(process)]

    return inject


def paused(study: Study, chance: random.Random, seconds: float) -> tuple[str, list[Result]]:
    """Stop a launch with all its jobs for some seconds, as Ctrl-Z does or a suspended laptop."""
    process = study.start()
    after_s = chance.uniform(0.2, seconds)
    time.sleep(after_s)
    for number, pause_s in ((signal.SIGSTOP, chance.uniform(0.5, 8.0)), (signal.SIGCONT, 0.0)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        time.sleep(pause_s)
    return f"stopped after {after_s:.1f} s", [finish(process)]


@contextmanager
def small_disk(study: Study, size_kb: int) -> Iterator[Callable[[str], None]]:
    """Mount a file system in memory as the folder of all runs; the function mounts it again with other options."""
    runs = study.root.parent
    runs.mkdir(parents=True, exist_ok=True)

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(runs)], check=True, capture_output=True)

    mount(f"size={size_kb}k")
    try:
        yield mount
    finally:
        mount(f"remount,rw,size={DISK_KB}k")


def full_disk(study: Study, chance: random.Random, _: float) -> tuple[str, list[Result]]:
    size_kb = chance.randint(30, 3000)
    with small_disk(study, size_kb):
        result = study.launch()
    return f"{size_kb} kB", [result]


def read_only(study: Study, chance: random.Random, seconds: float) -> tuple[str, list[Result]]:
    """Make the file system read-only at a random moment, as Linux does after an error of the disk."""
    with small_disk(study, DISK_KB) as mount:
        process = study.start()
        after_s = chance.uniform(0.2, seconds)
        time.sleep(after_s)
        for _ in range(20):  # it is busy while a file is open for writing
            with suppress(subprocess.CalledProcessError):
                mount("remount,ro")
                break
            time.sleep(0.05)
        result = finish(process)
    return f"after {after_s:.1f} s", [result]


def jumping_clock(study: Study, _chance: random.Random, _seconds: float) -> tuple[str, list[Result]]:
    return "", [finish(study.start(PYTHONPATH=str(HERE / "clock")))]


def two_launchers(study: Study, chance: random.Random, seconds: float) -> tuple[str, list[Result]]:
    delay_s = chance.uniform(0, seconds)
    first = study.start()
    time.sleep(delay_s)
    second = study.start()
    results: list[Result] = []
    waiting = threading.Thread(target=lambda: results.append(finish(first)))
    waiting.start()
    results.append(finish(second))
    waiting.join()
    return f"the second after {delay_s:.1f} s", results


@dataclass(frozen=True)
class Kind:
    """A fault, its weight in a campaign, what it needs, and how the commands that met it must end."""

    fault: Fault
    weight: int
    requirement: Requirement = any_end
    of_finished_study: bool = False
    with_wandb: bool = False


# Those of W&B take minutes, until its client gives up.
KINDS = {
    "SIGKILL of everything": Kind(signaled(signal.SIGKILL, whole_group=True), 12),
    "SIGKILL of the launcher": Kind(signaled(signal.SIGKILL), 6),
    "SIGTERM": Kind(signaled(signal.SIGTERM), 8),
    "SIGINT (Ctrl-C)": Kind(signaled(signal.SIGINT, whole_group=True), 8),
    "SIGSTOP, SIGCONT": Kind(paused, 5),
    "full disk": Kind(full_disk, 10),
    "read-only file system": Kind(read_only, 8),
    "deleted file": Kind(damaged(delete), 10, of_finished_study=True),
    "truncated file": Kind(damaged(truncate), 12, of_finished_study=True),
    "flipped bit": Kind(damaged(flip_bit), 12, of_finished_study=True),
    "SIGTERM, then damage": Kind(stopped_and_damaged, 8),
    "clock that jumps": Kind(jumping_clock, 3, all_end_well),
    "two launchers": Kind(two_launchers, 4, one_ends_well),
    "W&B server gone": Kind(server_gone, 1, all_end_well, with_wandb=True),
    "W&B server stops": Kind(server_stops, 2, all_end_well, with_wandb=True),
    "W&B server full": Kind(ServerAnswers(507, b"insufficient storage"), 1, all_end_well, with_wandb=True),
    "W&B server wrong": Kind(ServerAnswers(200, b"<html>not W&B</html>"), 1, all_end_well, with_wandb=True),
    "W&B server slow": Kind(ServerAnswers(503, b"busy", delay_s=5.0), 1, all_end_well, with_wandb=True),
}
