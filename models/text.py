"""Prompts of text-to-image models as embeddings, computed once by a pipeline's own text encoders."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.errors import UserError, first_line
from models.components import INDEX, import_diffusers, read_index

PROMPTS_PER_BATCH = 16
# Components that no prompt passes through.
OMITTED = ("unet", "transformer", "vae", "scheduler", "safety_checker", "feature_extractor", "image_encoder")

Embedded = tuple[Tensor, Tensor | None]  # tokens [n, L, D], and pooled embeddings [n, E] if the network has them


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of prompts and, at the end, of the negative prompt if there is guidance.

    `tokens` [P, L, D]; `pooled` [P, E], or None for networks without them.
    """

    tokens: Tensor
    pooled: Tensor | None


@torch.no_grad()
def embed(
    folder: Path, kind: str, network: Any, prompts: Sequence[str], negative_prompt: str | None, is_guided: bool
) -> Embeddings:
    """Return the embeddings of prompts for the pipeline of class `kind` in a folder, float32 on the CPU.

    The text encoders run on the first GPU, or on the CPU if there is none, and are freed. Without a `negative_prompt`,
    guidance uses the pipeline's default. Raises UserError if a text encoder cannot be opened.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pipeline, encode = _open_encoders(folder, kind, network, device), ENCODERS[kind]
    _warn_of_long_prompts(pipeline.tokenizer, prompts)
    batches = [list(prompts[i : i + PROMPTS_PER_BATCH]) for i in range(0, len(prompts), PROMPTS_PER_BATCH)]
    embedded = [encode(pipeline, device, batch)[0] for batch in batches]
    if is_guided:
        embedded.append(encode(pipeline, device, [prompts[0]], negative_prompt)[1])
    tokens, pooled = zip(*embedded, strict=True)
    return Embeddings(torch.cat(tokens).cpu(), None if pooled[0] is None else torch.cat(pooled).cpu())


def _open_encoders(folder: Path, kind: str, network: Any, device: torch.device) -> Any:
    """Return a pipeline with its text encoders and tokenizers, and with the network's configuration."""
    _, components = read_index(folder)
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    omitted = {name: None for name in index if name in OMITTED or index[name] == [None, None]}
    try:
        pipeline = _import_quietly(kind).from_pretrained(folder, **omitted, local_files_only=True)
    except Exception as error:  # types of transformers, tokenizers, safetensors, diffusers and PyTorch
        raise UserError(f"the text encoders in {folder} cannot be opened: {first_line(error)}") from None
    for name, component in pipeline.components.items():
        if name.startswith("text_encoder") and component is not None:
            component.eval().float().to(device)
    pipeline.register_modules(**{name: network for name in ("unet", "transformer") if name in components})
    return pipeline


def _warn_of_long_prompts(tokenizer: Any, prompts: Sequence[str]) -> None:
    limit, lengths = tokenizer.model_max_length, [len(tokens) for tokens in tokenizer(list(prompts)).input_ids]
    if too_long := sum(length > limit for length in lengths):
        print(
            f"warning: {too_long:,} of {len(lengths):,} prompts have more than {limit} tokens, the longest "
            f"{max(lengths)}; the first text encoder ignores the rest",
            file=sys.stderr,
        )


def _import_quietly(kind: str) -> Any:
    """Return a pipeline class, without progress bars of components and notes on optional packages."""
    diffusers = import_diffusers()
    try:
        import transformers
    except ImportError:
        raise UserError("text-to-image models require an extra: pip install -e '.[diffusers]' in the clone") from None
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    return getattr(diffusers, kind)


def _stable_diffusion(
    pipeline: Any, device: torch.device, prompts: list[str], negative: str | None = None
) -> tuple[Embedded, Embedded]:
    negatives = None if negative is None else [negative] * len(prompts)
    tokens, null = pipeline.encode_prompt(prompts, device, 1, True, negatives)
    return (tokens, None), (null, None)


def _pooling_stable_diffusion(
    pipeline: Any, device: torch.device, prompts: list[str], negative: str | None = None
) -> tuple[Embedded, Embedded]:
    """Embed for Stable Diffusion XL or 3."""
    others = dict.fromkeys(("prompt_2", "prompt_3")) if hasattr(pipeline, "text_encoder_3") else {}
    negatives = None if negative is None else [negative] * len(prompts)
    tokens, null, pooled, null_pooled = pipeline.encode_prompt(
        prompts, **others, device=device, negative_prompt=negatives
    )
    return (tokens, pooled), (null, null_pooled)


def _flux(
    pipeline: Any, device: torch.device, prompts: list[str], negative: str | None = None
) -> tuple[Embedded, Embedded]:
    tokens, pooled, _ = pipeline.encode_prompt(prompts, device=device)
    null, null_pooled, _ = pipeline.encode_prompt(negative or "", device=device)
    return (tokens, pooled), (null, null_pooled)


ENCODERS: dict[str, Callable[..., tuple[Embedded, Embedded]]] = {
    "StableDiffusionPipeline": _stable_diffusion,
    "StableDiffusionXLPipeline": _pooling_stable_diffusion,
    "StableDiffusion3Pipeline": _pooling_stable_diffusion,
    "FluxPipeline": _flux,
}
