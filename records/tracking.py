"""Weights & Biases runs that are never doubled, never hold up the work and can be made again from files.

What a run shows is first written to a file of the run folder, a line a point. Each run has an identity that is
kept beside that file. Online, a resumed run goes on after the last step it has. Offline, a resumed run is
written anew from the file and takes the place of the one that was cut off.
"""

import json
import netrc
import os
import shutil
import sys
import threading
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

import wandb

from configs.schema import Experiment
from records.durable import write_text
from records.layout import SeedFolder, experiment_folder
from records.provenance import versions

LONGEST_POINT_BYTES = 16_384
LONGEST_INIT_S = 30.0
LONGEST_FINISH_S = 120.0
STEP = "step"  # the training step: the x axis of every curve
Mode = Literal["online", "offline", "disabled"]
Point = dict[str, Any]  # {"step": 50, "loss": 0.1, …}; values that are not numbers are W&B media


@dataclass
class Tracked:
    """A W&B run that is being written. After W&B has failed once, nothing more is sent and the work goes on."""

    run: Any = None
    last_step: int = -1
    failure: str = field(default="", init=False)

    def log(self, point: Point) -> None:
        """Shows a point, unless the run has its step already. Points come in ascending steps."""
        if self.run is None or self.failure or point[STEP] <= self.last_step:
            return
        try:
            self.run.log(point, step=point[STEP])
            self.last_step = point[STEP]
        except Exception as error:  # whatever W&B fails with, training goes on
            self._fail(error)

    def finish(self) -> None:
        if self.run is None or self.failure:
            return
        # W&B tries for hours to reach a server that is gone, so it is not waited for longer than this.
        finishing = threading.Thread(target=self._finish, daemon=True)
        finishing.start()
        finishing.join(LONGEST_FINISH_S)
        if finishing.is_alive():
            self._fail(TimeoutError(f"not finished in {LONGEST_FINISH_S:.0f} s; `wandb sync` uploads the rest"))

    def _finish(self) -> None:
        try:
            self.run.finish()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.failure = _shortly(error) or type(error).__name__
        print(f"warning: W&B failed ({self.failure}); the work goes on, train.jsonl has every value", file=sys.stderr)


def open_run(experiment: Experiment, folder: SeedFolder, seed: int, job_type: str) -> Tracked:
    """The run of a seed's "train" or "analysis"; one that sends nothing where W&B is off or fails."""
    mode = resolved_mode(experiment)
    if mode == "disabled":
        return Tracked()
    identity = _identity(folder, experiment, seed, job_type)
    try:
        return _init(experiment, seed, job_type, identity, mode)
    except Exception as error:  # whatever W&B fails with, the work goes on
        print(f"warning: W&B cannot be reached ({_shortly(error)}); this run is logged offline", file=sys.stderr)
    try:
        wandb.teardown()  # or its service takes the run for one that is open
        return _init(experiment, seed, job_type, identity, "offline")
    except Exception as error:
        print(f"warning: W&B fails offline too ({_shortly(error)}); the work goes on without it", file=sys.stderr)
        return Tracked()


def _shortly(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _init(experiment: Experiment, seed: int, job_type: str, identity: str, mode: Mode) -> Tracked:
    directory = experiment_folder(experiment)
    if mode == "offline":
        remove_offline_runs(directory, identity)
    run = wandb.init(
        id=identity,
        name=f"{experiment.name} seed {seed} {job_type}",
        group=experiment.name,
        job_type=job_type,
        project=experiment.wandb.project,
        entity=experiment.wandb.entity,
        mode=mode,
        resume="allow" if mode == "online" else None,
        dir=directory,
        config={**asdict(experiment), "seed": seed, "versions": versions()},
        settings=wandb.Settings(silent=True, console="off", init_timeout=LONGEST_INIT_S),
    )
    run.define_metric(STEP, hidden=True)
    run.define_metric("*", step_metric=STEP)
    return Tracked(run, last_step=run.step - 1 if mode == "online" else -1)


def resolved_mode(experiment: Experiment) -> Mode:
    """ "online", "offline" or "disabled"; "auto" is what WANDB_MODE says, else online for those who are logged in."""
    asked = experiment.wandb.mode
    if asked != "auto":
        return asked
    said = os.environ.get("WANDB_MODE", "")
    if said in get_args(Mode):
        return cast(Mode, said)
    return "online" if _logged_in() else "offline"


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("://")[-1].strip("/")
    try:
        return netrc.netrc(os.environ.get("NETRC", Path.home() / ".netrc")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _identity(folder: SeedFolder, experiment: Experiment, seed: int, job_type: str) -> str:
    """The run's id, made once: a run folder that was deleted and made again gets a new one."""
    file = folder.root / f"wandb_{job_type}_id"
    if not file.exists():
        write_text(file, f"{experiment.name}-{seed}-{job_type}-{uuid.uuid4().hex[:8]}")
    return file.read_text(encoding="utf-8")


def offline_runs(directory: Path, identity: str = "*") -> list[Path]:
    return sorted(directory.glob(f"wandb/offline-run-*-{identity}"))


def remove_offline_runs(directory: Path, identity: str) -> None:
    for old in offline_runs(directory, identity):
        shutil.rmtree(old)


def last_step(file: Path) -> int:
    """The step of the last whole point of a log, 0 where there is none; reads no more than the end of it."""
    if not file.exists():
        return 0
    with open(file, "rb") as log:
        log.seek(max(0, file.stat().st_size - LONGEST_POINT_BYTES))
        lines = log.read().split(b"\n")[:-1]
    return json.loads(lines[-1])[STEP] if lines else 0


def read_points(file: Path) -> list[Point]:
    """The points of a log, without a last line that was cut off."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines if line]
