"""Weights & Biases runs that are never duplicated, never delay the work, and can be rebuilt from files.

The points of a run come from files of the run folder. Online, a resumed run continues after its last step. Offline, a
resumed run is written again from those files and replaces the interrupted one; `wandb sync` uploads it. The server
never changes a point: `supersede` has a run tagged whose points are out of date, and the next one gets another id.
"""

import hashlib
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import wandb

from configs.schema import Experiment, ModelStudy
from records.atomic import write_text
from records.layout import experiment_folder
from records.provenance import environment, versions
from records.tracking.login import LOG_IN, Mode, logged_in, resolved_mode, setup
from records.tracking.points import STEP, Point

INIT_TIMEOUT_S = 30.0
FINISH_TIMEOUT_S = 120.0
ABORT_TIMEOUT_S = 10.0
SUPERSEDED = "superseded"  # tag of a run whose points are out of date
REMEDY = "rerun the command later to send the missing points"


@dataclass
class TrackedRun:
    """An open W&B run. After the first failure of W&B nothing more is sent and the work continues."""

    run: Any = None
    last_step: int = -1
    mode: Mode = "disabled"
    failure: str = ""

    def log(self, point: Point, media: Callable[[], Point] = dict) -> None:
        """Log a point unless the run already contains its step. Steps must ascend; `media` is called only if needed."""
        step = point[STEP]
        if self.run is None or self.failure or step <= self.last_step:
            return
        try:
            pictures = media()
        except Exception as error:  # of the checkpoint or the disk, not of W&B
            print(f"warning: W&B gets no pictures of step {step} ({error})", file=sys.stderr)
            pictures = {}
        try:
            self.run.log(point | pictures, step=step)
            self.last_step = step
        except Exception as error:  # no failure of W&B may stop the work
            self.fail(error)

    def finish(self, conclude: Callable[[Any], None] = lambda run: None) -> None:
        """End the run after calling `conclude`, which may wait for the server."""
        self._end(conclude, 0, FINISH_TIMEOUT_S)

    def abort(self) -> None:
        """End an unfinished run as failed, within seconds: a signaled process is soon killed."""
        self._end(lambda run: None, 1, ABORT_TIMEOUT_S)

    def _end(self, conclude: Callable[[Any], None], exit_code: int, timeout_s: float) -> None:
        run, self.run = self.run, None
        if run is None:
            return

        def end() -> None:
            for action in (lambda: conclude(run), lambda: run.finish(exit_code=exit_code)):
                try:
                    action()
                except Exception as error:
                    self.fail(error)

        # W&B retries an unreachable server for hours. If the timeout expires, the run ends when the process exits.
        thread = threading.Thread(target=end, daemon=True)
        thread.start()
        thread.join(timeout_s)
        if thread.is_alive():
            self.fail(TimeoutError(f"not finished in {timeout_s:.0f} s"))

    def fail(self, error: Exception, consequence: str = REMEDY) -> "TrackedRun":
        """Stop sending after an error of W&B, and print a warning for the first one."""
        if not self.failure:
            message = " ".join(str(error).split())
            if "error 401" in message:
                message = f"error 401: the server rejects the key; {LOG_IN}"
            self.failure = message[:200] or type(error).__name__
            print(f"warning: W&B failed ({self.failure}); {consequence}", file=sys.stderr)
        return self


@dataclass(frozen=True)
class RunSpec:
    """The W&B run of one job: the "train" or "analysis" of a seed, or a "model"; `folder` contains its id."""

    experiment: Experiment | ModelStudy
    seed: int | None
    job_type: str
    folder: Path
    group: str  # shared by the runs that differ only in their seed

    @property
    def name(self) -> str:
        """The display name, as in "digits seed 0 train"."""
        seed = "" if self.seed is None else f" seed {self.seed}"
        return f"{self.experiment.name}{seed} {self.job_type}"

    @property
    def id_prefix(self) -> str:
        """The start of each id, derived from the name and the folder, as in "digits-0-train-1f0c2b7a-"."""
        digest = hashlib.sha256(self.folder.name.encode()).hexdigest()[:8]
        return f"{self.name.replace(' seed', '').replace(' ', '-')}-{digest}-"

    @property
    def id_file(self) -> Path:
        """The file with the id of the run on the server; earlier versions wrote it for offline runs too."""
        return self.folder / f"wandb_{self.job_type}_id"

    @property
    def superseded_file(self) -> Path:
        """The file with the ids of the runs on the server that have yet to be tagged as superseded."""
        return self.folder / f"wandb_{self.job_type}_superseded"

    def new_id(self) -> str:
        """Return the prefix with the current time.

        W&B refuses the id of a deleted run. If a deleted run folder is trained again, the same id would continue the
        old run, and `wandb sync` would append to its points.
        """
        return f"{self.id_prefix}{time.time_ns() // 1_000_000:x}"

    def server_id(self) -> str | None:
        """Return the id of the run on the server, logged online or uploaded by `wandb sync`; None without one."""
        if (stored := self._stored_id()) is not None:
            return stored
        uploaded = [path.name for path in self.offline_runs() if _is_uploaded(path)]
        return uploaded[-1][uploaded[-1].index(self.id_prefix) :] if uploaded else None

    def _stored_id(self) -> str | None:
        """Return the id in `id_file`, or None if the file is missing or damaged."""
        try:
            stored = self.id_file.read_text(encoding="utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        return stored if re.fullmatch(r"[\w.-]+", stored) else None

    def offline_runs(self) -> list[Path]:
        """Return the folders of the offline runs of this job, oldest first."""
        stored = self._stored_id()
        ids = [] if stored is None else [stored]
        folder = experiment_folder(self.experiment) / "wandb"
        return sorted(path for run in (f"{self.id_prefix}*", *ids) for path in folder.glob(f"offline-run-*-{run}"))


def open_run(spec: RunSpec) -> TrackedRun:
    """Open the W&B run of a job. The run sends nothing if W&B is disabled or fails."""
    mode = resolved_mode(spec.experiment)
    if mode == "disabled":
        return TrackedRun()
    if mode == "online":
        try:
            return _open_online(spec)
        except Exception as error:  # no failure of W&B may stop the work
            with suppress(Exception):
                wandb.teardown()  # otherwise its service considers the run open
            if spec.server_id():  # uploading an offline run would duplicate it
                return TrackedRun().fail(error)
            TrackedRun().fail(error, "this run is logged offline")
    try:
        return _open_offline(spec)
    except Exception as error:
        return TrackedRun().fail(error)


def supersede(spec: RunSpec) -> None:
    """Give the next run another id, and remove offline runs; the next `open_run` online tags this one."""
    if server_id := spec.server_id():
        with open(spec.superseded_file, "a", encoding="utf-8") as file:
            file.write(f"{server_id}\n")
    _remove(spec.offline_runs())
    spec.id_file.unlink(missing_ok=True)


def _tag_superseded(spec: RunSpec) -> None:
    """Tag superseded runs on the server, which can be reached; a run that was deleted there is not tried again."""
    if not spec.superseded_file.exists():
        return
    for run_id in spec.superseded_file.read_text(encoding="utf-8", errors="replace").split():
        try:
            TrackedRun(_init(spec, run_id, "online", [SUPERSEDED])).finish()
        except Exception as error:  # no failure of W&B may stop the work
            TrackedRun().fail(error, f"tag the run {run_id} as {SUPERSEDED} yourself, unless you deleted it")
    spec.superseded_file.unlink()


def offline_runs(folder: Path) -> list[Path]:
    """Return the folders of all offline runs of an experiment folder.

    A killed client may write to the folder of its run after the removal; such a folder contains no log.
    """
    return sorted({log.parent for log in folder.glob("wandb/offline-run-*/*.wandb")})


def _open_online(spec: RunSpec) -> TrackedRun:
    server_id = spec.server_id()
    run_id = server_id or spec.new_id()
    write_text(spec.id_file, run_id)  # first, so that a process killed during init resumes its run
    try:
        run = _init(spec, run_id, "online")
    except Exception:
        if server_id is None:
            spec.id_file.unlink()
        raise
    _tag_superseded(spec)
    _remove(spec.offline_runs())  # the caller logs their points again
    return TrackedRun(run, last_step=run.starting_step - 1, mode="online")


def _open_offline(spec: RunSpec) -> TrackedRun:
    _remove([path for path in spec.offline_runs() if not _is_uploaded(path)])
    return TrackedRun(_init(spec, spec.new_id(), "offline"), mode="offline")


def _init(spec: RunSpec, run_id: str, mode: Mode, tags: Sequence[str] = ()) -> Any:
    if mode == "online" and not logged_in():  # W&B would prompt on the terminal and wait
        raise PermissionError(f"no login: {LOG_IN}")
    directory = experiment_folder(spec.experiment)
    directory.mkdir(parents=True, exist_ok=True)
    setup()
    run = wandb.init(
        id=run_id,
        name=spec.name,
        group=spec.group,
        job_type=spec.job_type,
        tags=tags or None,
        project=spec.experiment.wandb.project,
        entity=spec.experiment.wandb.entity,
        mode=mode,
        reinit="create_new",  # independent of earlier runs of this process
        resume="allow" if mode == "online" else None,
        dir=directory,
        config={**asdict(spec.experiment), "seed": spec.seed, "versions": versions(), "environment": environment()},
        settings=wandb.Settings(silent=True, show_warnings=False, console="off", init_timeout=INIT_TIMEOUT_S),
    )
    run.define_metric(STEP, hidden=True)
    run.define_metric("*", step_metric=STEP)
    return run


def _is_uploaded(offline_run: Path) -> bool:
    return any(file.suffix in (".syncstate", ".synced") for file in offline_run.iterdir())


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
