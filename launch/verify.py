"""Verification of a study's files: reads everything that training and analysis have written."""

import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open

from analyze.analysis import Analysis, SeedAnalysis
from analyze.model import ModelAnalysis
from configs.checks import checkpoint_steps
from configs.errors import UserError, first_line, is_unreadable, printable
from configs.schema import Data, Experiment, ModelStudy
from launch.model_study import ModelStudyJobs
from records import checkpoint
from records.atomic import PARTIAL, is_abandoned
from records.layout import SeedFolder, data_folder, experiment_folder, saved_steps, seed_folder, step_name
from records.sealed import read_sealed
from records.tracking import points
from train import state
from train.datasets.prepared import can_prepare_again, check_digests

WIDTHS = (6, 20, 8, 9, 9)
ALL = "all"
READABLE = "make it readable; it may be intact"


@dataclass(frozen=True)
class Damage:
    """A damaged file or folder, with the reason and the remedy; `can_remove`: it is made again after its removal."""

    path: Path
    reason: str
    remedy: str
    can_remove: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; {self.remedy}"


@dataclass(frozen=True)
class Part:
    """A kind of files of one seed or T, or of all."""

    name: str
    origin: str
    intact: int = 0
    missing: int = 0
    damaged: list[Damage] = field(default_factory=list)
    note: str = ""

    def row(self) -> tuple[str, ...]:
        return (self.origin, self.name, *map(str, (self.intact, len(self.damaged), self.missing)))


def verify(study: Experiment | ModelStudy, repair: bool) -> tuple[str, int]:
    """Return a table of all files, with every damaged file and its remedy, and the number of damaged files.

    With `repair`, damaged files that the next launch makes again are removed and not counted.
    """
    header = ("T" if isinstance(study, ModelStudy) else "seed", "files", "intact", "damaged", "missing")
    parts = list(_model_parts(study) if isinstance(study, ModelStudy) else _experiment_parts(study))
    parts.append(_partial_files(study))
    rows = [header, *(part.row() for part in parts)]
    lines = ["".join(cell.ljust(width) for cell, width in zip(row, WIDTHS, strict=True)).rstrip() for row in rows]
    damaged = [damage for part in parts for damage in part.damaged]
    removed = [damage for damage in damaged if repair and damage.can_remove]
    for damage in removed:
        _remove(damage.path)
        lines.append(f"removed {damage.path}: {damage.reason}")
    lines += [part.note for part in parts if part.note]
    if any(part.missing for part in parts) or removed:
        lines.append("python -m launch computes what is missing.")
    left = [damage for damage in damaged if damage not in removed]
    return "\n".join([*lines, *map(printable, map(str, left))]), len(left)


def _remove(path: Path) -> None:
    """Remove a file or folder, which a running job may remove at the same time."""
    while path.is_dir() and not path.is_symlink():
        with suppress(FileNotFoundError):
            shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _model_parts(study: ModelStudy) -> Iterator[Part]:
    """Yield the files of a model's analysis; the model itself is only opened if it has not been launched before."""
    analyses = ModelStudyJobs(study).analyses
    for analysis in analyses:
        yield _results(str(analysis.options.ddim_steps), analysis)
    yield replace(_tensors(ALL, analyses[0]), note=_other_sweep(analyses))


def _other_sweep(analyses: Sequence[ModelAnalysis]) -> str:
    """Return a note on T without any files, which the study may have been analyzed without; the sweep is an option."""
    absent = [str(analysis.options.ddim_steps) for analysis in analyses if not analysis.folder.exists()]
    if len(absent) in (0, len(analyses)):
        return ""
    return f"nothing is stored for T = {', '.join(absent)}; if the study has other T, set sweep= as in its analysis"


def _partial_files(study: Experiment | ModelStudy) -> Part:
    """Return the files and folders that killed commands left while writing."""
    partial = sorted(_partial_paths(experiment_folder(study)))
    abandoned = [path for path in partial if is_abandoned(path)]
    damaged = [Damage(path, "a command was killed while writing it", "remove it", True) for path in abandoned]
    return Part("unfinished files", ALL, len(partial) - len(damaged), damaged=damaged)


def _partial_paths(folder: Path) -> Iterator[Path]:
    """Yield the partial files and folders below a folder, without those inside a partial folder."""
    for parent, folders, files in os.walk(folder):  # which, unlike glob, accepts that folders vanish meanwhile
        partial = {name for name in (*folders, *files) if name.startswith(PARTIAL)}
        yield from (Path(parent) / name for name in partial)
        folders[:] = [name for name in folders if name not in partial]


def _experiment_parts(experiment: Experiment) -> Iterator[Part]:
    yield _data(experiment)
    for seed in experiment.seeds:
        yield from _seed_parts(experiment, seed)


def _data(experiment: Experiment) -> Part:
    path = data_folder(experiment.data, experiment.model)
    if not path.exists():
        return Part("data set", ALL, missing=1)
    try:
        check_digests(path)
    except (UserError, OSError) as error:
        return Part("data set", ALL, damaged=[_data_damage(path, error, experiment.data)])
    return Part("data set", ALL, intact=1)


def _data_damage(path: Path, error: Exception, data: Data) -> Damage:
    """Return the damage of a prepared data set, which may be the only copy of its source."""
    if is_unreadable(error):
        return Damage(path, first_line(error), READABLE)
    reason = first_line(error).removeprefix(f"{path} is ").partition("; ")[0]
    if can_prepare_again(path, data):
        return Damage(path, reason, "remove it to prepare it again", can_remove=True)
    return Damage(path, reason, "restore it, or remove it if its source still exists")


def _seed_parts(experiment: Experiment, seed: int) -> Iterator[Part]:
    folder, analysis = seed_folder(experiment, seed), SeedAnalysis(experiment, seed)
    yield _checkpoints(analysis)
    steps = saved_steps(folder.state)
    errors = _state_errors(folder, steps)
    intact = [step for step in steps if step not in errors]
    yield Part("states", str(seed), len(intact), damaged=list(_damaged_states(experiment, folder, errors)))
    yield _log(experiment, seed, intact)
    yield _results(str(seed), analysis)
    yield _tensors(str(seed), analysis)


def _part(name: str, origin: str, damaged: list[Damage], files: int) -> Part:
    return Part(name, origin, files - len(damaged), damaged=_present(damaged))


def _present(damaged: list[Damage]) -> list[Damage]:
    """Leave out what a running job has removed or renamed before it could be read."""
    return [damage for damage in damaged if os.path.lexists(damage.path)]


def _checkpoints(analysis: SeedAnalysis) -> Part:
    folder, seed, damaged = analysis.run, analysis.seed, []
    saved, awaited = saved_steps(folder.checkpoints), analysis.awaited
    for step in saved:
        try:
            _check_checkpoint(folder, step)
        except checkpoint.DamagedCheckpoint as error:
            copy = folder.checkpoint(step).relative_to(folder.root)
            remedy = READABLE if is_unreadable(error.__cause__) else _train_again(analysis.experiment, seed, step, copy)
            damaged.append(
                Damage(folder.checkpoint(step), str(error).removeprefix(f"{folder.checkpoint(step)}/"), remedy)
            )
    deleted = [] if awaited else analysis.not_saved
    note = f"seed {seed}: deleted and not trained again: steps {', '.join(map(str, deleted))}" if deleted else ""
    return Part("checkpoints", str(seed), len(saved) - len(damaged), len(awaited), _present(damaged), note)


def _train_again(experiment: Experiment, seed: int, step: int, file: Path) -> str:
    """Return the remedy for a file of a run folder that no launch makes again.

    It is the same in another run with as many processes, on a CPU or with train.deterministic.
    """
    again = replace(experiment, name=f"{experiment.name}_again")
    last = max(step, checkpoint_steps(experiment.train.checkpoints, experiment.train.steps)[1])  # the shortest training
    config = shlex.quote(str(seed_folder(experiment, seed).config))
    return (
        "train it again, with as many processes, by  "
        f"python -m train {config} runs={shlex.quote(again.runs)} name={again.name} "
        f"train.steps={last} wandb.mode=disabled  and replace it by {seed_folder(again, seed).root / file}"
    )


def _check_checkpoint(folder: SeedFolder, step: int) -> None:
    opened = checkpoint.read(folder.checkpoint(step))
    if opened.step != step:
        raise checkpoint.DamagedCheckpoint(f"{opened.path} contains the checkpoint of step {opened.step}")
    for name in opened.digests:
        opened.check(name)


def _state_errors(folder: SeedFolder, steps: list[int]) -> dict[int, Exception]:
    """Return the errors of the states that are damaged or cannot be read, by step."""
    errors: dict[int, Exception] = {}
    for step in steps:
        try:
            state.check(folder.state / step_name(step))
        except (OSError, ValueError, KeyError, TypeError) as error:
            errors[step] = error
    return errors


def _damaged_states(experiment: Experiment, folder: SeedFolder, errors: dict[int, Exception]) -> Iterator[Damage]:
    """Yield damaged states; they can be removed if training has ended or another state is intact."""
    remaining = set(saved_steps(folder.state))  # a running training replaces its states
    is_needed = remaining <= errors.keys() and not folder.is_trained(experiment.train.steps)
    remedy = f"restore it, or remove {folder.root} to train from the beginning"
    if any(map(is_unreadable, errors.values())):
        remedy = "remove it when another state can be read"
    for step in sorted(remaining & errors.keys()):
        path, error = folder.state / step_name(step), errors[step]
        keep = is_needed and not is_unreadable(error)
        yield Damage(path, first_line(error), remedy) if keep else _damage(path, error, "remove it")


def _log(experiment: Experiment, seed: int, states: list[int]) -> Part:
    """Return the log of a seed, whose points must reach the newest intact state, from which training resumes."""
    folder = seed_folder(experiment, seed)
    newest = max([*folder.trained_steps(), *states], default=0)
    expected = range(experiment.train.log_every, newest + 1, experiment.train.log_every)
    if not folder.log.exists() and not (expected and saved_steps(folder.state)):  # converted checkpoints have no log
        return Part("log", str(seed))
    try:
        steps = [point[points.STEP] for point in points.read_points(folder.log)]
        if steps != sorted(set(steps)):
            raise UserError("its steps do not increase; remove the lines that were added")
        if lost := sorted(set(expected) - set(steps)):
            raise UserError(
                f"{len(lost)} of {len(expected)} points are missing, the first is of step {lost[0]}; "
                f"{_train_again(experiment, seed, newest, Path(folder.log.name))}"
            )
    except UserError as error:
        reason, _, remedy = str(error).removeprefix(f"{folder.log}, ").partition("; ")
        return Part("log", str(seed), damaged=[Damage(folder.log, reason, remedy)])
    return Part("log", str(seed), intact=1)


def _results(origin: str, analysis: Analysis) -> Part:
    damaged = []
    for step in analysis.steps:
        file = analysis.results_file(step)
        try:
            if file.exists() and "measures" not in read_sealed(file):
                raise ValueError("it contains no measures")
        except (OSError, ValueError, TypeError) as error:
            damaged.append(_damage(file, error, "remove it to measure again"))
    damaged = _present(damaged)
    incomplete = len(analysis.missing())  # a damaged file counts as missing there
    return Part("results", origin, len(analysis.steps) - incomplete, incomplete - len(damaged), damaged)


def _tensors(origin: str, analysis: Analysis) -> Part:
    """Return the tensors of all analyses of a seed or model, under any options."""
    folders = [walked for folder in analysis.root.glob("*/generations") for walked in os.walk(folder)]
    files = sorted(
        Path(parent) / name for parent, _, names in folders for name in names if name.endswith(".safetensors")
    )
    return _part("generated tensors", origin, list(_damaged_tensors(files)), len(files))


def _damaged_tensors(files: list[Path]) -> Iterator[Damage]:
    """Yield the files whose header is invalid or does not fit their size; a flipped bit in a value is not detected."""
    for file in files:
        try:
            with open(file, "rb"), safe_open(file, "pt"):  # safetensors calls every file that it cannot open missing
                pass
        except (OSError, SafetensorError) as error:
            yield _damage(file, error, "remove it to generate it again")


def _damage(path: Path, error: Exception, remedy: str) -> Damage:
    """Return the damage of a file that can be made again; if the disk or a permission fails, it is not removed."""
    if is_unreadable(error):
        return Damage(path, first_line(error), READABLE)
    return Damage(path, first_line(error), remedy, can_remove=True)
