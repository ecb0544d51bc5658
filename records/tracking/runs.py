"""Weights & Biases runs that are never doubled, never hold up the work and can be made again from files.

What a run shows is first written to a file of the run folder, a line a point. Each run has an identity that is
kept beside that file. Online, a resumed run goes on after the last step it has. Offline, a resumed run is
written anew from the file and takes the place of the one that was cut off. Points that were sent cannot be changed:
where they are no longer true, `supersede` gives the next run a new identity.
"""

import netrc
import os
import shutil
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

import wandb

from configs.schema import Experiment, ModelStudy
from records.atomic import write_text
from records.layout import experiment_folder
from records.provenance import environment, versions
from records.tracking.points import STEP, Point

LONGEST_INIT_S = 30.0
LONGEST_FINISH_S = 120.0
LONGEST_LEAVE_S = 10.0
COMMANDS = {"train": "python -m train", "analysis": "python -m analyze", "model": "python -m analyze model"}
SUPERSEDED = "superseded"  # the tag of a run whose points are no longer true
LOG_IN = "give the command  wandb login, or set WANDB_API_KEY"
Mode = Literal["online", "offline", "disabled"]


@dataclass
class TrackedRun:
    """A W&B run that is being written. After W&B has failed once, nothing more is sent and the work goes on."""

    run: Any = None
    last_step: int = -1
    mode: Mode = "disabled"
    remedy: str = ""  # what sends what this run lacks
    failure: str = ""

    def log(self, point: Point, media: Callable[[], Point] = dict) -> None:
        """Shows a point, unless the run has its step already. Points come in ascending steps; media are made last."""
        step = point[STEP]
        if self.run is None or self.failure or step <= self.last_step:
            return
        try:
            self.run.log(point | media(), step=step)
            self.last_step = step
        except Exception as error:  # whatever W&B fails with, training goes on
            self._fail(error)

    def finish(self, last: Callable[[Any], None] = lambda run: None) -> None:
        """Ends the run, after `last` was done with it: what asks the server and waits for answers belongs there."""
        self._end(last, 0, LONGEST_FINISH_S)

    def leave(self) -> None:
        """Ends a run that was not finished: soon, for whoever stops a process does not wait, and as one that failed."""
        self._end(lambda run: None, 1, LONGEST_LEAVE_S)

    def _end(self, last: Callable[[Any], None], exit_code: int, longest_s: float) -> None:
        run, self.run = self.run, None
        if run is None:
            return

        def end() -> None:
            for part in (lambda: last(run), lambda: run.finish(exit_code=exit_code)):
                try:
                    part()
                except Exception as error:
                    self._fail(error)

        # W&B tries for hours to reach a server that is gone, so it is not waited for longer than this. A run that is
        # not ended here is ended, and waited for, when the process exits.
        ending = threading.Thread(target=end, daemon=True)
        ending.start()
        ending.join(longest_s)
        if ending.is_alive():
            self._fail(TimeoutError(f"not finished in {longest_s:.0f} s"))

    def _fail(self, error: Exception) -> None:
        if self.failure:
            return
        self.failure = _shortly(error) or type(error).__name__
        print(f"warning: W&B failed ({self.failure}); the work goes on{self.remedy}", file=sys.stderr)


@dataclass(frozen=True)
class RunSpec:
    """What a W&B run is of: the "train" or "analysis" of a seed, or a "model"; and where its identity is kept."""

    experiment: Experiment | ModelStudy
    seed: int | None
    job_type: str
    folder: Path
    group: str  # of the runs that differ in nothing but the seed

    @property
    def remedy(self) -> str:
        others = "" if self.seed is None else f" of seed {self.seed}, or  python -m launch …,"
        return f"; the next  {COMMANDS[self.job_type]} …{others} sends what is missing"

    @property
    def name(self) -> str:
        parts = [self.experiment.name, *([] if self.seed is None else [f"seed {self.seed}"]), self.job_type]
        return " ".join(parts)  # as in "digits seed 0 train"

    @property
    def identity_file(self) -> Path:
        return self.folder / f"wandb_{self.job_type}_id"

    @property
    def online_file(self) -> Path:
        """Holds the identity that the server has seen."""
        return self.folder / f"wandb_{self.job_type}_online"

    def was_online(self) -> bool:
        """Whether the server may have a part of it, to which uploading an offline run would add all points again."""
        return self.online_file.exists() and self.online_file.read_text(encoding="utf-8") == self.identity()

    def identity(self) -> str:
        """The run's id, made once: a folder that was deleted and made again gets a new one."""
        file = self.identity_file
        if not file.exists():
            write_text(file, f"{self.name.replace(' seed', '').replace(' ', '-')}-{uuid.uuid4().hex[:8]}")
        return file.read_text(encoding="utf-8")


def open_run(of: RunSpec) -> TrackedRun:
    """The W&B run; one that sends nothing where W&B is off or fails."""
    mode = resolved_mode(of.experiment)
    if mode == "disabled":
        return TrackedRun()
    if mode == "online":
        try:
            _check_login()
            return _init(of, mode)
        except Exception as error:  # whatever W&B fails with, the work goes on
            why = f"W&B cannot be reached ({_shortly(error)})"
        with suppress(Exception):
            wandb.teardown()  # or its service takes the run for one that is open
        if of.was_online():
            print(f"warning: {why}; nothing is logged to it now{of.remedy}", file=sys.stderr)
            return TrackedRun(failure=why)
        print(f"warning: {why}; this run is logged offline", file=sys.stderr)
    try:
        return _init(of, "offline")
    except Exception as error:
        why = f"W&B fails offline too ({_shortly(error)})"
        print(f"warning: {why}; the work goes on without it{of.remedy}", file=sys.stderr)
        return TrackedRun(failure=why)


def supersede(of: RunSpec) -> None:
    """Gives up the run as it is: marked so online, removed where it is offline; the next one has a new identity."""
    identity = of.identity()
    if resolved_mode(of.experiment) == "online" and of.was_online():
        try:
            TrackedRun(_wandb_run(of, identity, "online", tags=[SUPERSEDED]), mode="online").finish()
        except Exception as error:
            print(f"warning: W&B cannot be reached ({_shortly(error)}); {identity} is out of date", file=sys.stderr)
    remove_offline_runs(experiment_folder(of.experiment), identity)
    of.identity_file.unlink()


def _shortly(error: Exception) -> str:
    said = " ".join(str(error).split())
    return f"error 401: it does not know the key; {LOG_IN}" if "error 401" in said else said[:200]


def _init(of: RunSpec, mode: Mode) -> TrackedRun:
    if mode == "offline":
        _make_room(of)
    identity = of.identity()
    run = _wandb_run(of, identity, mode)
    run.define_metric(STEP, hidden=True)
    run.define_metric("*", step_metric=STEP)
    if mode == "offline":
        return TrackedRun(run, mode="offline", remedy=of.remedy)
    write_text(of.online_file, identity)
    # What an offline run would add to this one when it is uploaded comes from the files now.
    remove_offline_runs(experiment_folder(of.experiment), identity)
    return TrackedRun(run, last_step=run.starting_step - 1, mode="online", remedy=of.remedy)


def _wandb_run(of: RunSpec, identity: str, mode: Mode, tags: list[str] | None = None) -> Any:
    experiment = of.experiment
    directory = experiment_folder(experiment)
    directory.mkdir(parents=True, exist_ok=True)
    _set_up()
    return wandb.init(
        id=identity,
        name=of.name,
        group=of.group,
        job_type=of.job_type,
        tags=tags,
        project=experiment.wandb.project,
        entity=experiment.wandb.entity,
        mode=mode,
        reinit="create_new",  # whatever became of the run before
        resume="allow" if mode == "online" else None,
        dir=directory,
        config={**asdict(experiment), "seed": of.seed, "versions": versions(), "environment": environment()},
        settings=wandb.Settings(silent=True, show_warnings=False, console="off", init_timeout=LONGEST_INIT_S),
    )


def _set_up() -> Any:
    """W&B in this process, with a service of its own.

    A service that the environment names is that of whoever started this process. It may be on another machine, or
    take a run that a killed process had open there for one that is still being written.
    """
    os.environ.pop("WANDB_SERVICE", None)
    return wandb.setup(wandb.Settings(silent=True))


def resolved_mode(experiment: Experiment | ModelStudy) -> Mode:
    """ "online", "offline" or "disabled"; "auto" is what WANDB_MODE says, else online for those who are logged in."""
    asked = experiment.wandb.mode
    if asked != "auto":
        return asked
    said = os.environ.get("WANDB_MODE", "")
    if said in get_args(Mode):
        return cast(Mode, said)
    return "online" if logged_in() else "offline"


def _check_login() -> None:
    """Raises PermissionError where nobody is logged in: W&B would ask on the terminal and wait for an answer."""
    if not logged_in():
        raise PermissionError(f"no login: {LOG_IN}")


def logged_in() -> bool:
    """Whether W&B would take this user for someone, without asking."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    server = os.environ.get("WANDB_BASE_URL") or _set_up().settings.base_url
    hosts = {urlsplit(server).netloc}
    if server == wandb.Settings().base_url:
        hosts.add("api.wandb.ai")  # where clients before 0.31 were logged in, whose keys are still taken
    try:
        known = netrc.netrc(os.environ.get("NETRC", Path.home() / ".netrc"))
    except (OSError, netrc.NetrcParseError):
        return False
    return any(known.authenticators(host) for host in hosts)


def offline_runs(directory: Path, identity: str = "*") -> list[Path]:
    """Their folders; not what a client that outlived its process wrote after its run was removed."""
    return sorted({log.parent for log in directory.glob(f"wandb/offline-run-*-{identity}/*.wandb")})


def _make_room(of: RunSpec) -> None:
    """Removes the offline run that is to be written anew; one that was uploaded stays, and gives up its identity."""
    old = offline_runs(experiment_folder(of.experiment), of.identity())
    if any(file for run in old for file in (*run.glob("*.syncstate"), *run.glob("*.synced"))):
        of.identity_file.unlink()
    else:
        remove_offline_runs(experiment_folder(of.experiment), of.identity())


def remove_offline_runs(directory: Path, identity: str) -> None:
    for old in directory.glob(f"wandb/offline-run-*-{identity}"):
        shutil.rmtree(old, ignore_errors=True)
