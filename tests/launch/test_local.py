"""Jobs as processes: parallelism, dependencies, failures, and their end with the launcher."""

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
import torch
from submitit.core.utils import cloudpickle_dump

from configs.errors import UserError
from configs.schema import Cluster
from launch import local
from launch.jobs import POLL_INTERVAL_S, Launcher, Work
from launch.local import LocalRun, visible_gpus
from launch.plan import Job
from launch.study import exclusive
from records import lock

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # job processes cannot import tests


@dataclass(frozen=True)
class FakeWork:
    """Work that logs its start and end to a file and behaves as its name says."""

    name: str
    events: Path
    threads: int = 1

    def __call__(self, launcher: Launcher) -> str:
        self._log("starts")
        if self.name in ("one", "two"):  # each waits for the other
            other = {"one": "two", "two": "one"}[self.name]
            deadline = time.monotonic() + 60
            while f"{other} starts\n" not in self.events.read_text():
                assert time.monotonic() < deadline
                time.sleep(0.05)
        if self.name == "takes seconds":
            time.sleep(3)
        if self.name == "raises":
            raise ValueError("first line\nlast line")
        if self.name == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        self._log("ends")
        return "a message for the user" if self.name == "reports" else ""

    def _log(self, event: str) -> None:
        with open(self.events, "a") as file:
            file.write(f"{self.name} {event}\n")


@dataclass(frozen=True)
class Outcome:
    events: list[str]
    folder: Path
    error: str
    polls: int


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> Outcome:
    """Eight jobs, two at a time: three fail and two depend on a failed one."""
    folder = tmp_path_factory.mktemp("jobs")
    events, polls = folder / "events", []
    events.touch()
    needs = {"one": (), "two": (), "three": ("one", "two"), "raises": ("one",), "dies": (), "reports": ()}
    needs |= {"never": ("three", "raises"), "not even": ("never",)}
    jobs = [Job(name, FakeWork(name, events), needed) for name, needed in needs.items()]
    run = LocalRun(Cluster(max_parallel=2), folder / "jobs", Launcher(folder / "lock", "nobody"))
    with pytest.raises(UserError) as error:
        run.run(jobs, [lambda: polls.append(1)])
    return Outcome(events.read_text().splitlines(), folder, str(error.value), len(polls))


def test_exactly_two_jobs_run_at_a_time(outcome):
    """Jobs "one" and "two" show that two run together: each ends only after both have started."""
    running, most = set(), 0
    for line in outcome.events:
        name, event = line.split()
        running = running | {name} if event == "starts" else running - {name}
        most = max(most, len(running - {"raises", "dies"}))
    assert most == 2 and {"one ends", "two ends"} <= set(outcome.events)


def test_a_job_starts_after_the_jobs_it_needs(outcome):
    position = outcome.events.index
    assert position("three starts") > max(position("one ends"), position("two ends"))
    assert position("raises starts") > position("one ends")


def test_ready_jobs_start_in_the_order_of_the_plan(tmp_path):
    """A seed is complete before the next one starts, even if both were ready at the beginning."""
    events = tmp_path / "events"
    needs = {"a1": (), "a2": ("a1",), "b1": (), "b2": ("b1",)}
    jobs = [Job(name, FakeWork(name, events), needed) for name, needed in needs.items()]
    LocalRun(Cluster(max_parallel=1), tmp_path / "jobs", Launcher(tmp_path / "lock", "nobody")).run(jobs, [])
    assert events.read_text().split() == [word for name in needs for word in (name, "starts", name, "ends")]


def test_local_jobs_have_no_time_limit(tmp_path):
    """A training may take weeks; `timeout_hours` is for SLURM."""
    events = tmp_path / "events"
    run = LocalRun(Cluster(timeout_hours=1 / 3600), tmp_path / "jobs", Launcher(tmp_path / "lock", "nobody"))
    run.run([Job("takes seconds", FakeWork("takes seconds", events))], [])
    assert "takes seconds ends" in events.read_text()


@dataclass(frozen=True)
class ReportGpu(Work):
    """Work that writes the GPUs that it sees to a file."""

    file: Path

    def _run(self) -> None:
        self.file.write_text(os.environ["CUDA_VISIBLE_DEVICES"])


def test_jobs_share_the_gpus_that_the_launcher_may_use(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(local, "visible_gpus", lambda: ["GPU-5f", "3"])
    jobs = [Job(str(number), ReportGpu(tiny(), 1, tmp_path / f"gpu{number}")) for number in range(2)]
    with lock.hold(tmp_path / "lock", "launch", 0):
        LocalRun(Cluster(max_parallel=2), tmp_path / "jobs", Launcher(tmp_path / "lock", "launch")).run(jobs, [])
    assert {(tmp_path / f"gpu{number}").read_text() for number in range(2)} == {"GPU-5f", "3"}


@pytest.mark.parametrize(
    ("variable", "count", "gpus"),
    [("", 2, ["0", "1"]), ("2,3", 2, ["2", "3"]), ("GPU-5f,GPU-6a", 2, ["GPU-5f", "GPU-6a"]), ("", 0, [])],
)
def test_visible_gpus_are_named_as_in_the_environment(variable, count, gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == gpus


def test_jobs_that_need_a_failed_job_are_skipped(outcome):
    assert not [line for line in outcome.events if line.startswith(("never", "not even"))]
    assert "never" not in outcome.error and "not even" not in outcome.error


def test_independent_jobs_continue_after_a_failure(outcome):
    assert {"one ends", "two ends", "three ends", "reports ends"} <= set(outcome.events)


def test_each_failure_is_reported_in_one_line_with_its_log(outcome):
    messages = dict(part.split(": ", 1) for part in outcome.error.split("; "))
    assert messages.keys() == {"raises", "dies", "reports"} and "\n" not in outcome.error
    assert messages["raises"].startswith("last line (log: ")
    assert messages["dies"].startswith("the process died (log: ")
    assert messages["reports"] == "a message for the user"
    log = Path(re.search(r"last line \(log: (.*?)\)", messages["raises"])[1])
    assert outcome.folder / "jobs" in log.parents and "ValueError: first line\nlast line" in log.read_text()


def test_callbacks_run_while_jobs_run(outcome):
    assert outcome.polls > 5


def test_results_of_an_earlier_process_with_the_same_id_are_ignored(tmp_path):
    """The system reuses process ids, within minutes after a container restarts."""
    jobs, events = tmp_path / "jobs", tmp_path / "events"
    jobs.mkdir()
    newest = int(Path("/proc/loadavg").read_text().split()[-1])
    cloudpickle_dump(("success", ""), jobs / "result")
    for number in range(newest, newest + 500):
        os.link(jobs / "result", jobs / f"{number}_0_result.pkl")
    run = LocalRun(Cluster(), jobs, Launcher(tmp_path / "lock", "nobody"))
    with pytest.raises(UserError, match="dies: the process died"):
        run.run([Job("dies", FakeWork("dies", events))], [])


LAUNCH = """
import errno, fcntl, os, sys, time
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
        remove_locks()
        launcher.exit_with_launcher()
        pids = self.folder / "pids"
        pids.with_suffix(".new").write_text(f"{os.getpid()} {os.getppid()}")
        pids.with_suffix(".new").rename(pids)
        time.sleep(600)

def remove_locks():
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")
    if "WITHOUT_LOCKS" in os.environ:
        fcntl.flock = flock

def launch(arguments):
    remove_locks()
    folder = Path(arguments[0])
    launcher = Launcher(folder / "launch.lock", lock.describe_process("launch"))
    with lock.hold(launcher.lock, launcher.holder, 0):
        LocalRun(Cluster(), folder / "jobs", launcher).run([Job("sleep", Sleep(folder))], [])

run_command(launch)
"""


@pytest.mark.parametrize("environment", [{}, {"WITHOUT_LOCKS": "1"}], ids=["locks", "no locks"])
def test_a_job_ends_when_its_launcher_is_killed(environment, tmp_path, repository, wait_until):
    """The job sleeps for ten minutes; neither it nor its parent process survives."""
    command = [sys.executable, "-c", LAUNCH, str(tmp_path)]
    launcher = subprocess.Popen(command, cwd=repository, env=os.environ | environment)
    try:
        wait_until((tmp_path / "pids").exists)
        time.sleep(2 * POLL_INTERVAL_S)  # the job has looked for its launcher
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert all(is_alive(pid) for pid in pids)
    finally:
        launcher.kill()
        launcher.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in pids), timeout_s=30)


def test_ctrl_c_prints_one_sentence_and_ends_all_jobs(tmp_path, repository, wait_until):
    """A terminal sends SIGINT to the launcher and to all processes it started."""
    command = [sys.executable, "-c", LAUNCH, str(tmp_path)]
    pipe = {"stderr": subprocess.PIPE, "text": True}
    launcher = subprocess.Popen(command, cwd=repository, start_new_session=True, **pipe)
    wait_until((tmp_path / "pids").exists)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    os.killpg(launcher.pid, signal.SIGINT)
    _, stderr = launcher.communicate(timeout=60)
    assert launcher.returncode == 130 and stderr == "\ninterrupted; rerun the same command to resume\n"
    wait_until(lambda: not any(is_alive(pid) for pid in pids), timeout_s=30)


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_second_launch_waits_for_the_first(tmp_path, capsys, wait_until):
    first, second = (Launcher(tmp_path / "launch.lock", f"launch, process {number}") for number in (1, 2))
    order = []

    def launch_second() -> None:
        with exclusive(second):
            order.append("second")

    thread = threading.Thread(target=launch_second)
    with exclusive(first):
        thread.start()
        output = []
        wait_until(lambda: output.append(capsys.readouterr().out) or "waiting for" in "".join(output))
        assert "".join(output) == "waiting for another launch of this experiment: launch, process 1\n"
        order.append("first")
    thread.join(timeout=30)
    assert order == ["first", "second"]
    with lock.hold(first.lock, "a third", wait_s=0):  # the lock is free
        pass
