"""Paths of all files of an experiment below `runs/`."""

from dataclasses import dataclass
from pathlib import Path

from configs.schema import Data, Experiment, Model, ModelStudy


@dataclass(frozen=True)
class SeedFolder:
    """The run folder of one seed."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def log(self) -> Path:
        return self.root / "train.jsonl"

    @property
    def speed(self) -> Path:
        return self.root / "speed.jsonl"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def samples(self) -> Path:
        return self.root / "samples"

    def sample_grid(self, step: int) -> Path:
        return self.samples / f"{step_name(step)}.png"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / step_name(step)

    def trained(self, steps: int) -> Path:
        """Return the path of an empty file that marks training up to that step as done."""
        return self.root / f"trained_{step_name(steps)}"

    def trained_steps(self) -> list[int]:
        """Return the steps to which training was done, ascending."""
        return sorted(int(path.name.removeprefix("trained_")) for path in self.root.glob("trained_[0-9]*"))

    def is_trained(self, steps: int) -> bool:
        """Return whether training to `steps` is complete; only the upload to W&B may still be pending."""
        return self.checkpoint(steps).exists() and self.trained(steps).exists()

    @property
    def analyses(self) -> Path:
        return self.root / "analysis"


def step_name(step: int) -> str:
    return f"{step:09d}"


def data_folder(data: Data, model: Model) -> Path:
    """Return the folder of an experiment's prepared data set."""
    return Path(data.root) / f"{data.name}_{model.image_size}"


def experiment_folder(experiment: Experiment | ModelStudy) -> Path:
    return Path(experiment.runs) / experiment.name


def seed_folder(experiment: Experiment | ModelStudy, seed: int) -> SeedFolder:
    return SeedFolder(experiment_folder(experiment) / f"seed_{seed}")


def jobs_folder(experiment: Experiment | ModelStudy) -> Path:
    return experiment_folder(experiment) / "jobs"


def submissions_folder(experiment: Experiment | ModelStudy) -> Path:
    """Return the folder of the records of SLURM submissions, one file per job or array."""
    return jobs_folder(experiment) / "submitted"


def code_folder(experiment: Experiment | ModelStudy, digest: str) -> Path:
    """Return the folder of the snapshot of the code that jobs run."""
    return jobs_folder(experiment) / "code" / digest


def checkpoint_minutes_file(experiment: Experiment, fingerprint: str) -> Path:
    """Return the file with the measured analysis time per checkpoint."""
    return jobs_folder(experiment) / f"minutes-{fingerprint}"


def evaluation_seconds_file(study: ModelStudy) -> Path:
    """Return the file with the measured time per network evaluation of one image."""
    return jobs_folder(study) / f"seconds-per-evaluation-{study.analyze.precision}"


def model_file(study: Experiment | ModelStudy) -> Path:
    """Return the file that describes the pretrained model of a study."""
    return experiment_folder(study) / "model.json"


def report_folder(experiment: Experiment | ModelStudy) -> Path:
    return experiment_folder(experiment) / "report"


def comparison_folder(experiment: Experiment, name: str) -> Path:
    """Return the folder of a comparison of experiments."""
    return Path(experiment.runs) / "comparisons" / name


def dashboard_file(experiment: Experiment) -> Path:
    """Return the file with the address of the W&B dashboard."""
    return experiment_folder(experiment) / "dashboard.json"


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of the complete checkpoints or training states in a folder, in ascending order."""
    return sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit())
