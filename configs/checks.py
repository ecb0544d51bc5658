"""Checks beyond types: ranges of options, and combinations that are impossible."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

from configs.errors import UserError
from configs.schema import Checkpoints, Cluster, Diffusion, Experiment, Model, ModelStudy

# Side length in pixels and color channels of the data sets; None: any.
IMAGES: dict[str, tuple[int | None, int | None]] = {"digits": (None, 1), "cifar10": (32, 3), "imagenet64": (64, 3)}

LINEAR_STEPS = 20  # up to this number of steps, the last β of the linear schedule, 20 / steps, is not below 1
MAX_CHECKPOINTS = 1_000_000
MAX_NAME_BYTES = 100


def check(root: Experiment | ModelStudy, source: str) -> None:
    """Raise UserError at the first problem; the message names the option and the allowed values."""
    problems = _experiment_problems(root) if isinstance(root, Experiment) else _study_problems(root)
    for problem in itertools.chain(_range_problems(root), problems):
        raise UserError(f"{source}: {problem}")


def _range_problems(section: Any, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(section):
        value, key = getattr(section, field.name), f"{prefix}{field.name}"
        values = value if isinstance(value, list) else [value]
        for item in values:
            if dataclasses.is_dataclass(item):
                yield from _range_problems(item, f"{key}.")
            elif isinstance(item, (int, float)) and not isinstance(item, bool):
                yield from _number_problems(key, item, field.metadata)
            elif isinstance(value, list) and isinstance(item, (list, dict)):
                yield f"{key}={value} contains a list or a section; it must contain single values"


def _number_problems(key: str, value: float, metadata: Any) -> Iterator[str]:
    unit = f" {metadata['unit']}" if metadata["unit"] else ""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{key}={value} is not a finite number"
    if isinstance(value, int) and abs(value) >= 2**63:
        yield f"{key} is too large; it must fit into 64 bits"
    if metadata["at_least"] is not None and value < metadata["at_least"]:
        yield f"{key}={value} is too small; it must be at least {metadata['at_least']}{unit}"
    if metadata["at_most"] is not None and value > metadata["at_most"]:
        yield f"{key}={value} is too large; it must be at most {metadata['at_most']}{unit}"


def _experiment_problems(experiment: Experiment) -> Iterator[str]:
    yield from _invalid_name(experiment.name)
    yield from _too_many_checkpoints(experiment)
    yield from model_problems(experiment.model)
    yield from diffusion_problems(experiment.diffusion)
    yield from _data_problems(experiment)
    yield from _training_problems(experiment)
    yield from _analysis_problems(experiment)
    yield from _cluster_problems(experiment.cluster)
    yield from _empty_or_duplicates("seeds", experiment.seeds)
    yield from _empty_or_duplicates("train.ema_rates", experiment.train.ema_rates)
    if len(checkpoint_steps(experiment.train.checkpoints, experiment.train.steps)) < 2:
        yield (
            f"train.checkpoints contains only the last step up to train.steps={experiment.train.steps}; "
            "add a step to train.checkpoints.at or train.checkpoints.strides"
        )


def _study_problems(study: ModelStudy) -> Iterator[str]:
    yield from _invalid_name(study.name)
    if len(set(study.sweep)) < len(study.sweep):
        yield f"sweep={study.sweep} contains duplicates"
    if study.vae_scaling_factor == 0:
        yield "vae_scaling_factor=0 is not a divisor; set it to another number"


def _invalid_name(name: str) -> Iterator[str]:
    if not re.fullmatch(r"\w[\w.-]*", name):
        yield f'name="{name}" is not a folder name; use only letters, digits, "_", "-" and "."'
    if len(name.encode()) > MAX_NAME_BYTES:
        yield f"name={name} is too long for folders; set a name= of at most {MAX_NAME_BYTES} bytes"


def _too_many_checkpoints(experiment: Experiment) -> Iterator[str]:
    steps, checkpoints = experiment.train.steps, experiment.train.checkpoints
    ends = [steps if stride.until is None else min(stride.until, steps) for stride in checkpoints.strides]
    count = len(checkpoints.at) + sum(
        end // stride.every for end, stride in zip(ends, checkpoints.strides, strict=True)
    )
    if count > MAX_CHECKPOINTS:
        yield f"train.checkpoints schedules {count:,} checkpoints; choose a schedule of at most {MAX_CHECKPOINTS:,}"


def model_problems(model: Model) -> Iterator[str]:
    """Yield the problems of a network as sentences that name the options."""
    yield from network_problems(model)
    sides = [model.image_size / 2**level for level in range(len(model.channel_mult))]
    for side in model.attention_resolutions:
        if side not in sides:
            available = ", ".join(str(int(side)) for side in sides)
            yield f"model.attention_resolutions: no feature map has side length {side}; choose from {available}"


def network_problems(model: Model) -> Iterator[str]:
    """Yield the problems of a network that cannot be built; resolutions without a feature map have no effect."""
    yield from _range_problems(model, "model.")
    sides = [model.image_size / 2**level for level in range(len(model.channel_mult))]
    if not model.channel_mult or sides[-1] < 1 or sides[-1] != int(sides[-1]):
        yield (
            f"model.image_size={model.image_size} cannot be halved between the levels of "
            f"model.channel_mult={model.channel_mult}"
        )
    if model.model_channels % model.norm_groups:
        yield f"model.model_channels={model.model_channels} is not a multiple of model.norm_groups={model.norm_groups}"
    for channels in model.level_channels:
        if channels % model.norm_groups:
            yield f"model.channel_mult: {channels} channels are not a multiple of model.norm_groups={model.norm_groups}"
    yield from _head_problems(model, sides)


def diffusion_problems(diffusion: Diffusion) -> Iterator[str]:
    """Yield the problems of a diffusion as sentences that name the options."""
    yield from _range_problems(diffusion, "diffusion.")
    if diffusion.schedule == "linear" and diffusion.steps <= LINEAR_STEPS:
        yield (
            f"diffusion.schedule=linear is not defined for diffusion.steps={diffusion.steps}, because its last β "
            f"would be {LINEAR_STEPS}/{diffusion.steps}; set it to more than {LINEAR_STEPS}, or schedule=cosine"
        )


def _head_problems(model: Model, sides: list[float]) -> Iterator[str]:
    """Yield the head counts that do not divide the channels of a level with attention or of the middle block."""
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


def _data_problems(experiment: Experiment) -> Iterator[str]:
    data, model = experiment.data, experiment.model
    side, channels = IMAGES.get(data.name, (None, None))
    if model.in_channels not in ((1, 3) if channels is None else (channels,)):
        yield (
            f"data.name={data.name} has {channels or '1 or 3'} color channels, not model.in_channels="
            f"{model.in_channels}; set model.in_channels={channels or 3}"
        )
    if data.name == "digits" and data.source is not None:
        yield "data.name=digits is part of scikit-learn; remove data.source"
    if side not in (None, model.image_size):
        yield (
            f"data.name={data.name} has images of {side} × {side} pixels, not model.image_size={model.image_size}; "
            f"set model.image_size={side}, or use data.name=folder, which accepts images of any size"
        )


def _training_problems(experiment: Experiment) -> Iterator[str]:
    train = experiment.train
    if experiment.model.use_fp16:
        yield "model.use_fp16=true is only for sampling; to train in half precision, set train.precision=fp16"
    if train.loss == "vlb" and experiment.diffusion.variance != "learned_range":
        yield (
            f"train.loss=vlb trains the variance, but diffusion.variance={experiment.diffusion.variance} is fixed; "
            "set diffusion.variance=learned_range"
        )
    if train.batch_size % train.gradient_accumulation_steps:
        yield (
            f"train.batch_size={train.batch_size} is not divisible by "
            f"train.gradient_accumulation_steps={train.gradient_accumulation_steps}; choose a multiple of it"
        )


def _analysis_problems(experiment: Experiment) -> Iterator[str]:
    analyze, steps = experiment.analyze, experiment.diffusion.steps
    for option in ("ddim_steps", "inversion_steps"):
        requested = getattr(analyze, option)
        if requested is not None and requested not in reachable_ddim_steps(steps):
            nearest = sorted(reachable_ddim_steps(steps), key=lambda count: abs(count - requested))[:4]
            yield (
                f"analyze.{option}={requested} is not the result of an integer stride over "
                f"diffusion.steps={steps}; the nearest values are {', '.join(map(str, sorted(nearest)))}"
            )
    if analyze.measures.knn_k >= analyze.samples:
        yield (
            f"analyze.measures.knn_k={analyze.measures.knn_k} is not smaller than "
            f"analyze.samples={analyze.samples}; decrease it or generate more samples"
        )
    for label in analyze.labels:
        if label >= (experiment.model.num_classes or 0):
            yield f"analyze.labels contains class {label}, but model.num_classes={experiment.model.num_classes}"
    weights = ["model", *(f"ema_{rate}" for rate in experiment.train.ema_rates)]
    if analyze.weights not in weights:
        yield f'analyze.weights="{analyze.weights}" is not saved by this training; choose from {", ".join(weights)}'


def _cluster_problems(cluster: Cluster) -> Iterator[str]:
    processes, gpus = cluster.processes_per_node or 0, cluster.gpus_per_node
    if 0 < gpus < processes:  # NCCL, which connects processes on GPUs, requires one GPU for each
        yield (
            f"cluster.processes_per_node={processes} is more than cluster.gpus_per_node={gpus}; set "
            f"cluster.processes_per_node={gpus} or less, or more GPUs"
        )


def _empty_or_duplicates(key: str, values: list) -> Iterator[str]:
    if not values:
        yield f"{key} is empty; set at least one value"
    if len(set(values)) < len(values):
        yield f"{key}={values} contains duplicates"


def reachable_ddim_steps(schedule_steps: int) -> set[int]:
    """Return the numbers of DDIM steps that result from integer strides over the schedule."""
    return {math.ceil(schedule_steps / stride) for stride in range(1, schedule_steps)}


def checkpoint_steps(checkpoints: Checkpoints, last_step: int) -> list[int]:
    """Return the steps of the checkpoint schedule up to `last_step`, which is always included, in ascending order."""
    steps, start = {last_step, *checkpoints.at}, 0
    for stride in checkpoints.strides:
        end = last_step if stride.until is None else stride.until
        first = (start // stride.every + 1) * stride.every
        steps.update(range(first, min(end, last_step) + 1, stride.every))
        start = end
    return sorted(step for step in steps if step <= last_step)
