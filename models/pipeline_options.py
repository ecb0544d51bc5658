"""Options of a pipeline, and checks that they apply to it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError


@dataclass(frozen=True)
class PipelineOptions:
    """Options that a pipeline's folder does not contain; `configs.schema.ModelStudy` describes them."""

    prompts: tuple[str, ...] = ()
    negative_prompt: str | None = None
    guidance: float = 1.0
    latent_size: int | None = None
    vae_scaling_factor: float | None = None

    def needs_null(self, config: Any) -> bool:
        """Return whether guidance evaluates the network without condition; a distilled network gets it as an input."""
        return self.guidance != 1 and not config.get("guidance_embeds")


def check_text_options(folder: Path, options: PipelineOptions, config: Any) -> None:
    """Raise UserError if the options do not apply to a text-to-image model."""
    if not options.prompts:
        raise UserError(f"{folder} generates images from text; set prompts= or prompts_file=")
    if options.negative_prompt is not None and not options.needs_null(config):
        raise UserError(f"{folder}: negative_prompt has no effect, because the model is not evaluated without prompt")


def check_class_options(folder: Path, options: PipelineOptions, has_null: bool) -> None:
    """Raise UserError if the options do not apply to a model of classes or to an unconditional model."""
    if options.prompts or options.negative_prompt is not None:
        raise UserError(f"{folder} does not generate images from text; remove prompts, prompts_file, negative_prompt")
    if options.latent_size is not None:
        raise UserError(f"{folder}: the size of its images is fixed; remove latent_size")
    if options.guidance != 1 and not has_null:
        raise UserError(f"{folder}: guidance needs a model that was also trained without condition; set guidance=1")
