"""What a type cannot say: ranges of single options, and combinations that cannot work."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

from configs.errors import UserError
from configs.schema import Checkpoints, Experiment, Model, ModelStudy

# Side in pixels and colour channels of the data sets that have them fixed; None: any.
IMAGES: dict[str, tuple[int | None, int | None]] = {"digits": (None, 1), "cifar10": (32, 3), "imagenet64": (64, 3)}


def check(root: Experiment | ModelStudy, source: str) -> None:
    """Raises UserError, naming the option and what is allowed, at the first thing wrong with what was asked."""
    impossible = _impossible(root) if isinstance(root, Experiment) else _impossible_study(root)
    for problem in itertools.chain(_out_of_range(root), impossible):
        raise UserError(f"{source}: {problem}")


def _out_of_range(section: Any, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(section):
        value, key = getattr(section, field.name), f"{prefix}{field.name}"
        values = value if isinstance(value, list) else [value]
        for one in values:
            if dataclasses.is_dataclass(one):
                yield from _out_of_range(one, f"{key}.")
            elif isinstance(one, (int, float)) and not isinstance(one, bool):
                yield from _number_out_of_range(key, one, field.metadata)


def _number_out_of_range(key: str, value: float, about: Any) -> Iterator[str]:
    unit = f" {about['unit']}" if about["unit"] else ""
    if not math.isfinite(value):
        yield f"{key}={value} is not a finite number"
    if about["at_least"] is not None and value < about["at_least"]:
        yield f"{key}={value} is too small; it must be at least {about['at_least']}{unit}"
    if about["at_most"] is not None and value > about["at_most"]:
        yield f"{key}={value} is too large; it must be at most {about['at_most']}{unit}"


def _impossible(experiment: Experiment) -> Iterator[str]:
    yield from _no_folder(experiment.name)
    yield from impossible_model(experiment.model)
    yield from _impossible_data(experiment)
    yield from _impossible_training(experiment)
    yield from _impossible_analysis(experiment)
    yield from _named_twice("seeds", experiment.seeds)
    yield from _named_twice("train.ema_rates", experiment.train.ema_rates)
    if len(checkpoint_steps(experiment.train.checkpoints, experiment.train.steps)) < 2:
        yield (
            f"train.checkpoints names no step from 0 to train.steps={experiment.train.steps} but the last; "
            "give at least one more in train.checkpoints.at or train.checkpoints.strides"
        )


def _impossible_study(study: ModelStudy) -> Iterator[str]:
    yield from _no_folder(study.name)
    if len(set(study.sweep)) < len(study.sweep):
        yield f"sweep={study.sweep} names one twice"
    if study.vae_scaling_factor == 0:
        yield "vae_scaling_factor=0 is what nothing can be divided by"


def _no_folder(name: str) -> Iterator[str]:
    if not re.fullmatch(r"\w[\w.-]*", name):
        yield f'name="{name}" cannot be a folder; use letters, digits, "_", "-" and "." only'


def impossible_model(model: Model) -> Iterator[str]:
    """What cannot be in a network, as sentences that name the options."""
    sides = [model.image_size / 2**level for level in range(len(model.channel_mult))]
    if not model.channel_mult or sides[-1] != int(sides[-1]):
        yield f"model.image_size={model.image_size} cannot be halved between the levels of {model.channel_mult}"
    for side in model.attention_resolutions:
        if side not in sides:
            there_are = ", ".join(str(int(one)) for one in sides)
            yield f"model.attention_resolutions: there is no feature map of side {side}, only {there_are}"
    if model.model_channels % model.norm_groups:
        yield f"model.model_channels={model.model_channels} is not a multiple of model.norm_groups={model.norm_groups}"
    for channels in model.level_channels:
        if channels % model.norm_groups:
            yield f"model.channel_mult: {channels} channels are not a multiple of model.norm_groups={model.norm_groups}"
    yield from _impossible_heads(model, sides)


def _impossible_heads(model: Model, sides: list[float]) -> Iterator[str]:
    """Heads that do not divide the channels; those of every level with attention, and of the middle, count."""
    levels = zip(model.level_channels, sides, strict=True)
    attended = [channels for channels, side in levels if side in (*model.attention_resolutions, sides[-1])]
    if model.num_head_channels is not None:
        for channels in attended:
            if channels % model.num_head_channels:
                yield f"model.num_head_channels={model.num_head_channels} does not divide {channels} channels"
        return
    for heads in filter(None, (model.num_heads, model.num_heads_upsample)):
        if model.model_channels % heads:
            yield f"{heads} attention heads do not divide model.model_channels={model.model_channels}"
        for channels in attended:
            if channels % heads:
                yield f"{heads} attention heads do not divide {channels} channels"


def _impossible_data(experiment: Experiment) -> Iterator[str]:
    data, model = experiment.data, experiment.model
    side, channels = IMAGES.get(data.name, (None, None))
    if model.in_channels not in ((1, 3) if channels is None else (channels,)):
        yield (
            f"data.name={data.name} has {channels or '1 or 3'} colour channels, not model.in_channels="
            f"{model.in_channels}; set model.in_channels={channels or 3}"
        )
    if data.name == "digits" and data.source is not None:
        yield "data.name=digits comes with scikit-learn; leave data.source= out"
    if side not in (None, model.image_size):
        yield (
            f"data.name={data.name} has images of {side} pixels, not model.image_size={model.image_size}; "
            f"set model.image_size={side}, or take images of any size with data.name=folder"
        )


def _impossible_training(experiment: Experiment) -> Iterator[str]:
    train = experiment.train
    if experiment.model.use_fp16:
        yield "model.use_fp16=true is for published weights; train in half precision with train.precision=fp16"
    if train.loss == "vlb" and experiment.diffusion.variance != "learned_range":
        yield f"train.loss=vlb trains the variance, but diffusion.variance={experiment.diffusion.variance} is fixed"
    if train.batch_size % train.gradient_accumulation_steps:
        yield (
            f"train.batch_size={train.batch_size} is not a multiple of "
            f"train.gradient_accumulation_steps={train.gradient_accumulation_steps}"
        )


def _impossible_analysis(experiment: Experiment) -> Iterator[str]:
    analyze, steps = experiment.analyze, experiment.diffusion.steps
    for option in ("ddim_steps", "inversion_steps"):
        requested = getattr(analyze, option)
        if requested is not None and requested not in reachable_ddim_steps(steps):
            near = sorted(reachable_ddim_steps(steps), key=lambda count: abs(count - requested))[:4]
            yield (
                f"analyze.{option}={requested} cannot be reached by an integer stride over "
                f"diffusion.steps={steps}; near it are {', '.join(map(str, sorted(near)))}"
            )
    if analyze.measures.knn_k >= analyze.samples:
        yield (
            f"analyze.measures.knn_k={analyze.measures.knn_k} neighbours cannot be found among "
            f"analyze.samples={analyze.samples} images; it must be smaller"
        )
    for label in analyze.labels:
        if label >= (experiment.model.num_classes or 0):
            yield f"analyze.labels names class {label}, but model.num_classes={experiment.model.num_classes}"
    weights = ["model", *(f"ema_{rate}" for rate in experiment.train.ema_rates)]
    if analyze.weights not in weights:
        yield f'analyze.weights="{analyze.weights}" is not kept by this training; there are {", ".join(weights)}'


def _named_twice(key: str, values: list) -> Iterator[str]:
    if not values:
        yield f"{key} is empty; give at least one"
    if len(set(values)) < len(values):
        yield f"{key}={values} names one twice"


def reachable_ddim_steps(schedule_steps: int) -> set[int]:
    """The numbers of DDIM steps that some integer stride over the schedule gives."""
    return {math.ceil(schedule_steps / stride) for stride in range(1, schedule_steps)}


def checkpoint_steps(checkpoints: Checkpoints, last_step: int) -> list[int]:
    """The steps that are kept up to `last_step`, ascending; the last one always is."""
    kept, start = {last_step, *checkpoints.at}, 0
    for stride in checkpoints.strides:
        end = last_step if stride.until is None else stride.until
        first = (start // stride.every + 1) * stride.every
        kept.update(range(first, min(end, last_step) + 1, stride.every))
        start = end
    return sorted(step for step in kept if step <= last_step)
