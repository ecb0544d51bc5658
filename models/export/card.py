"""Model cards of exported pipelines, in the format of the Hugging Face Hub."""

import dataclasses
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from configs.load import load_resolved
from records.atomic import file_digest
from records.layout import SeedFolder
from records.provenance import versions

WEIGHTS_FILE = Path("unet") / "diffusion_pytorch_model.safetensors"
SHOWN_STEPS = 100  # steps of the card's example, or fewer


def model_card(source: Path, weights: str, exported: Path) -> str:
    """Return the text of README.md for the pipeline in `exported`, which was written from a checkpoint folder.

    Raises UserError if the checkpoint is in a run folder whose config.yaml cannot be read.
    """
    content = json.loads((source / "checkpoint.json").read_text(encoding="utf-8"))
    index = json.loads((exported / "model_index.json").read_text(encoding="utf-8"))
    scheduler = json.loads((exported / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    name, train = _training(source)
    options = {**{key: content[key] for key in ("model", "diffusion", "data") if content.get(key)}, **train}
    pipeline = index["_class_name"]
    return _template().render(
        content,
        name=name,
        pipeline=pipeline,
        sampler=pipeline.removesuffix("Pipeline").lower(),
        steps=scheduler["num_train_timesteps"],
        ddim_steps=_largest_divisor(scheduler["num_train_timesteps"]),
        weights=weights,
        digest=content["digests"][weights],
        file=WEIGHTS_FILE,
        exported_digest=file_digest(exported / WEIGHTS_FILE),
        trained_with=_listed(content["versions"]),
        exported_with=_listed({**versions(), "diffusers": metadata.version("diffusers")}),
        options=options,
        yaml=yaml.safe_dump(options, sort_keys=False, allow_unicode=True),
    )


def _training(source: Path) -> tuple[str, dict[str, Any]]:
    """Return the name of the experiment and its section `train`, both unknown outside of a run folder.

    Options that describe a machine and not the training are left out.
    """
    source = source.resolve()
    run = SeedFolder(source.parent.parent)
    if source.parent != run.checkpoints or not run.config.exists():
        return "Diffusion model", {}
    experiment = load_resolved(run.config)
    fixed = {field.name for field in dataclasses.fields(experiment.train) if not field.metadata["may_change"]}
    options = dataclasses.asdict(experiment.train)
    return experiment.name, {"train": {name: value for name, value in options.items() if name in fixed}}


def _largest_divisor(steps: int) -> int:
    return max(divisor for divisor in range(1, SHOWN_STEPS + 1) if steps % divisor == 0)


def _listed(names: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in names.items())


def _template() -> Any:
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True).get_template("card.md.j2")
