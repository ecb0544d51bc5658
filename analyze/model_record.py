"""The record of a study's model, model.json: its description and digest, and the facts that jobs are planned with."""

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from configs.errors import UserError
from configs.schema import ModelStudy
from models.flops import evaluation_flop
from models.source import Source, check_ddim_steps
from records import lock
from records.atomic import read_json, write_json
from records.layout import experiment_folder, model_file
from records.provenance import versions

PAPER_SWEEP = (10, 50, 100, 500, 1000, 4000)


@dataclass(frozen=True)
class Facts:
    """Properties of a model that its jobs are planned with, recorded to plan and show them without opening it."""

    clip: bool
    sweep: list[int]  # numbers T of the paper that it supports
    evaluations_per_call: int
    flop: float  # floating-point operations of one evaluation for one image

    @classmethod
    def of(cls, source: Source) -> "Facts":
        denoiser = source.denoiser
        return cls(denoiser.clip, paper_sweep(source), denoiser.evaluations_per_call, evaluation_flop(denoiser))


def paper_sweep(source: Source) -> list[int]:
    return [ddim_steps for ddim_steps in PAPER_SWEEP if _is_supported(source, ddim_steps)]


def _is_supported(source: Source, ddim_steps: int) -> bool:
    try:
        check_ddim_steps(source, ddim_steps)
    except UserError:
        return False
    return True


def check_model(study: ModelStudy, source: Source) -> None:
    """Record the model in the study's folder. Raises UserError if the folder belongs to another model or experiment."""
    file = model_file(study)
    if any(file.parent.glob("seed_*/config.yaml")):
        raise UserError(f"{file.parent} is the folder of an experiment; choose a different name=")
    if not file.exists():
        model = {"about": source.about, "sha256": source.digest, "config": source.config}
        write_json(file, model | {"source": study.source, "versions": versions()})
        return
    try:
        recorded = read_json(file)
        config = dict(recorded.get("config", {}))  # not recorded by version 0.1
        digest, description = recorded["sha256"], "; ".join(recorded["about"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise UserError(f"{file} is damaged; remove it if {study.source} is the analyzed model") from None
    if digest != source.digest or config != {key: source.config.get(key) for key in config}:
        raise UserError(
            f"{file.parent} contains the analysis of another model ({description}); choose a different name="
        )


def record_facts(study: ModelStudy, source: Source) -> None:
    """Record the model's properties for planning in its description, which `check_model` writes."""
    recorded = read_json(model_file(study))
    facts = dataclasses.asdict(Facts.of(source))
    if recorded.get("facts") != facts:
        write_json(model_file(study), recorded | {"facts": facts})


def recorded_facts(study: ModelStudy) -> Facts | None:
    """Return the recorded properties of a model, or None if it was not launched or they are damaged."""
    try:
        return Facts(**read_json(model_file(study))["facts"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


@contextmanager
def exclusive(study: ModelStudy, shared: bool = False) -> Iterator[None]:
    """Hold the study's lock; jobs of a launch hold a `shared` one. Raises UserError if another process holds it."""
    folder = experiment_folder(study)
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.hold(folder / "lock", lock.describe_process("analysis"), 0, shared))
        except lock.Busy as busy:
            raise UserError(f"{folder} is in use by another {busy}") from None
        yield
