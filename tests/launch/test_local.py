"""Jobs as processes: how many at once, what waits for what, how they fail, and that none outlives its launcher."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import pytest
from submitit.core.utils import cloudpickle_dump

from configs.errors import UserError
from configs.schema import Cluster
from launch.jobs import Launcher
from launch.local import LocalRun
from launch.plan import Job
from launch.study import exclusive
from records import lock

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # job processes cannot import a test


@dataclass(frozen=True)
class Play:
    """Work that notes its beginning and its end in a file, and does what its name says in between."""

    name: str
    notes: Path
    threads: int = 1

    def __call__(self, launcher: Launcher) -> str:
        self._note("begins")
        if self.name in ("one", "two"):  # each waits for the other
            other = {"one": "two", "two": "one"}[self.name]
            deadline = time.monotonic() + 60
            while f"{other} begins\n" not in self.notes.read_text():
                assert time.monotonic() < deadline
                time.sleep(0.05)
        if self.name == "raises":
            raise ValueError("first line\nlast line")
        if self.name == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        self._note("ends")
        return "what the user can mend" if self.name == "says" else ""

    def _note(self, what: str) -> None:
        with open(self.notes, "a") as file:
            file.write(f"{self.name} {what}\n")


@dataclass(frozen=True)
class Played:
    notes: list[str]
    folder: Path
    error: str
    looks: int


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> Played:
    """Eight jobs, two at a time, of which three fail and two need one that failed."""
    folder = tmp_path_factory.mktemp("jobs")
    notes, looks = folder / "notes", []
    notes.touch()
    needs = {"one": (), "two": (), "three": ("one", "two"), "raises": ("one",), "dies": (), "says": ()}
    needs |= {"never": ("three", "raises"), "not even": ("never",)}
    jobs = [Job(name, Play(name, notes), wanted) for name, wanted in needs.items()]
    run = LocalRun(Cluster(max_parallel=2), folder / "jobs", Launcher(folder / "lock", "nobody"))
    with pytest.raises(UserError) as error:
        run.run(jobs, [lambda: looks.append(1)])
    return Played(notes.read_text().splitlines(), folder, str(error.value), len(looks))


def test_two_at_a_time_and_never_more(played):
    """That there were two is shown by "one" and "two", which end only where both have begun."""
    running, most = set(), 0
    for note in played.notes:
        name, what = note.split()
        running = running | {name} if what == "begins" else running - {name}
        most = max(most, len(running - {"raises", "dies"}))
    assert most == 2 and {"one ends", "two ends"} <= set(played.notes)


def test_a_job_starts_when_all_that_it_needs_has_ended(played):
    place = played.notes.index
    assert place("three begins") > max(place("one ends"), place("two ends"))
    assert place("raises begins") > place("one ends")


def test_what_needs_a_failed_job_is_not_started(played):
    assert not [note for note in played.notes if note.startswith(("never", "not even"))]
    assert "never" not in played.error and "not even" not in played.error


def test_the_others_are_done_all_the_same(played):
    assert {"one ends", "two ends", "three ends", "says ends"} <= set(played.notes)


def test_failures_are_told_in_a_line_each_with_the_log(played):
    told = dict(part.split(": ", 1) for part in played.error.split("; "))
    assert told.keys() == {"raises", "dies", "says"} and "\n" not in played.error
    assert told["raises"].startswith("last line (log: ")
    assert told["dies"].startswith("the process died (log: ")
    assert told["says"] == "what the user can mend"
    log = Path(re.search(r"last line \(log: (.*?)\)", told["raises"])[1])
    assert played.folder / "jobs" in log.parents and "ValueError: first line\nlast line" in log.read_text()


def test_looks_are_taken_while_jobs_run(played):
    assert played.looks > 5


def test_an_earlier_process_of_the_same_number_is_not_taken_for_this_one(tmp_path):
    """Numbers come again, after a restart of a container within minutes: what it left says nothing of a new job."""
    jobs, notes = tmp_path / "jobs", tmp_path / "notes"
    jobs.mkdir()
    newest = int(Path("/proc/loadavg").read_text().split()[-1])
    cloudpickle_dump(("success", ""), jobs / "result")
    for number in range(newest, newest + 500):
        os.link(jobs / "result", jobs / f"{number}_0_result.pkl")
    run = LocalRun(Cluster(), jobs, Launcher(tmp_path / "lock", "nobody"))
    with pytest.raises(UserError, match="dies: the process died"):
        run.run([Job("dies", Play("dies", notes))], [])


LAUNCHES = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from configs.errors import run_command
from configs.schema import Cluster
from launch.jobs import Launcher
from launch.local import LocalRun
from launch.plan import Job
from records import lock

@dataclass(frozen=True)
class Sleep:
    folder: Path
    threads: int = 1

    def __call__(self, launcher):
        launcher.exit_with_launcher()
        numbers = self.folder / "numbers"
        numbers.with_suffix(".new").write_text(f"{os.getpid()} {os.getppid()}")
        numbers.with_suffix(".new").rename(numbers)
        time.sleep(600)

def launch(arguments):
    folder = Path(arguments[0])
    launcher = Launcher(folder / "launch.lock", lock.describe_process("launch"))
    with lock.hold(launcher.lock, launcher.holder, 0):
        LocalRun(Cluster(), folder / "jobs", launcher).run([Job("sleep", Sleep(folder))], [])

run_command(launch)
"""


def test_a_job_ends_when_its_launcher_is_killed(tmp_path, repository, wait_until):
    """It would sleep for ten minutes. Nothing of it is left, nor of the process that started it."""
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHES, str(tmp_path)], cwd=repository)
    try:
        wait_until((tmp_path / "numbers").exists)
        numbers = [int(number) for number in (tmp_path / "numbers").read_text().split()]
        assert all(alive(number) for number in numbers)
    finally:
        launcher.kill()
        launcher.wait()
    wait_until(lambda: not any(alive(number) for number in numbers), timeout_s=30)


def test_ctrl_c_is_answered_in_one_sentence_and_ends_all(tmp_path, repository, wait_until):
    """A terminal sends it to the launcher and to all that it started."""
    command = [sys.executable, "-c", LAUNCHES, str(tmp_path)]
    pipe = {"stderr": subprocess.PIPE, "text": True}
    launcher = subprocess.Popen(command, cwd=repository, start_new_session=True, **pipe)
    wait_until((tmp_path / "numbers").exists)
    numbers = [int(number) for number in (tmp_path / "numbers").read_text().split()]
    os.killpg(launcher.pid, signal.SIGINT)
    _, said = launcher.communicate(timeout=60)
    assert launcher.returncode == 130 and said == "\ninterrupted; the same command goes on from here\n"
    wait_until(lambda: not any(alive(number) for number in numbers), timeout_s=30)


def alive(number: int) -> bool:
    """Whether a process is there and not only waiting for its parent to notice that it ended."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_second_launch_waits_for_the_first(tmp_path, capsys, wait_until):
    first, second = (Launcher(tmp_path / "launch.lock", f"launch, process {number}") for number in (1, 2))
    order = []

    def launch_too() -> None:
        with exclusive(second):
            order.append("second")

    thread = threading.Thread(target=launch_too)
    with exclusive(first):
        thread.start()
        said = []
        wait_until(lambda: said.append(capsys.readouterr().out) or "waiting for it" in "".join(said))
        assert "".join(said) == "another launch, process 1, is at work on this; waiting for it\n"
        order.append("first")
    thread.join(timeout=30)
    assert order == ["first", "second"]
    with lock.hold(first.lock, "a third", wait_s=0):  # nobody holds it any more
        pass
