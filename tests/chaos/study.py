"""A small study that a campaign breaks, and the numbers by which a repaired study is recognized."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from records.atomic import file_digest

REPOSITORY = Path(__file__).parent.parent.parent
TIMEOUT_S = 900.0  # with a silent W&B server, a study takes eight minutes
NAME = "chaos"
CONFIG = f"""\
name: {NAME}
runs: RUNS
seeds: [0, 1]
data: {{name: digits, root: DATA}}
model:
  image_size: 8
  in_channels: 1
  model_channels: 8
  num_res_blocks: 1
  channel_mult: [1]
  attention_resolutions: []
  norm_groups: 2
  num_heads: 1
  dropout: 0.1
diffusion: {{schedule: cosine, steps: 4000}}
train:
  steps: 60
  lr: 1.0e-2
  batch_size: 4
  ema_rates: [0.99]
  log_every: 2
  state_every_minutes: 0.002
  checkpoints: {{at: [0, 2, 20], strides: []}}
analyze:
  samples: 8
  ddim_steps: 4
  batch_size: 8
  precision: fp32
  weights: ema_0.99
  pictures: 3
  measures: {{knn_k: 3, mapping_images: 4, dino_model: null, inversion_checkpoints: none}}
wandb: {{mode: disabled}}
"""


@dataclass(frozen=True)
class Result:
    """End of a command; the status is negative if a signal ended it, and None if it hung."""

    status: int | None
    output: str

    @property
    def ended_well(self) -> bool:
        return self.status == 0

    @property
    def is_one_sentence(self) -> bool:
        """Whether a command failed with one error message at its end."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error:")]
        return bool(self.status and self.status > 0 and errors == lines[-1:])

    @property
    def problem(self) -> str:
        """A traceback or a hang, which no user should see, or ""."""
        if self.status is None:
            return f"hung for {TIMEOUT_S:.0f} s"
        return "traceback" if "Traceback (most recent call last)" in self.output else ""


@dataclass(frozen=True)
class Study:
    """A study below a folder, launched by the same command every time."""

    folder: Path
    options: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def root(self) -> Path:
        return self.folder / "runs" / NAME

    @property
    def runs(self) -> list[Path]:
        """Folders of the seeds' runs."""
        return sorted(self.root.glob("seed_*"))

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def config(self) -> Path:
        return self.folder / "chaos.yaml"

    def states(self) -> list[Path]:
        """Return the files of the training states."""
        return sorted(self.root.glob("seed_*/state/[0-9]*/state.pt"))

    def create(self, whole: "Study | None" = None) -> "Study":
        """Write the configuration; `whole` is a study whose prepared data are copied."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = CONFIG.replace("RUNS", str(self.folder / "runs")).replace("DATA", str(self.data))
        self.config.write_text(text)
        if whole is not None:
            shutil.copytree(whole.data, self.data)
        return self

    def copy_results(self, whole: "Study") -> None:
        shutil.copytree(whole.root, self.root, dirs_exist_ok=True)

    def start(self, *command: str, **variables: str) -> "Command":
        """Start `python -m launch [COMMAND] CONFIG` in a separate session."""
        arguments = [sys.executable, "-m", "launch", *command, str(self.config), *(() if command else self.options)]
        return Command(arguments, {"OMP_NUM_THREADS": "1", **dict(self.variables), **variables})

    def launch(self, *command: str) -> Result:
        return finish(self.start(*command))

    def numbers(self) -> dict[str, str]:
        """Return digests of the weights, the log, and the measured values, by file."""
        readers = {
            "checkpoints/*/*.safetensors": file_digest,
            "train.jsonl": file_digest,
            "analysis/*/*.json": measured,
        }
        return {
            str(file.relative_to(self.root)): read(file)
            for pattern, read in readers.items()
            for file in sorted(self.root.glob(f"seed_*/{pattern}"))
        }


class Command(subprocess.Popen):
    """A command in a separate session, with output to a file: processes of W&B that outlive it keep a pipe open."""

    def __init__(self, arguments: Sequence[str], variables: Mapping[str, str]):
        self.file = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        environment, output = os.environ | variables, {"stdout": self.file, "stderr": subprocess.STDOUT}
        super().__init__(arguments, cwd=REPOSITORY, env=environment, start_new_session=True, **output)

    def output(self) -> str:
        self.file.seek(0)
        return self.file.read()


def measured(file: Path) -> str:
    """Return the values of a results file as text, without times and versions."""
    try:
        measures = json.loads(file.read_bytes())["measures"]
        return json.dumps({name: entry["values"] for name, entry in measures.items()}, sort_keys=True)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"unreadable: {error!r}"


def finish(command: Command) -> Result:
    """Wait for a command; kill it with all its jobs if it hangs."""
    try:
        return Result(command.wait(TIMEOUT_S), command.output())
    except subprocess.TimeoutExpired:
        os.killpg(command.pid, 9)
        command.wait()
        return Result(None, command.output())
