"""Loading of YAML files and `key=value` overrides; precedence: defaults < YAML < command line."""

import dataclasses
import difflib
import io
import json
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from configs.checks import check
from configs.errors import UserError, first_line
from configs.schema import Experiment, ModelStudy
from configs.yaml_limits import check_limits

Root = typing.TypeVar("Root", Experiment, ModelStudy)

PROFILES = Path(__file__).parent / "cluster"
YAML_SUFFIXES = (".yaml", ".yml")
RENAMED_OPTIONS = {  # old → new name; remove in version 0.3
    "train.accumulate": "train.gradient_accumulation_steps",
    "train.gradient_clip": "train.max_grad_norm",
    "latent_scale": "vae_scaling_factor",
}
OTHER_NAMES = {  # improved-diffusion's name of an option → its key
    "num_channels": "model.model_channels",
    "class_cond": "model.num_classes",
    "diffusion_steps": "diffusion.steps",
    "noise_schedule": "diffusion.schedule",
    "learn_sigma": "diffusion.variance",
    "sigma_small": "diffusion.variance",
    "data_dir": "data.source",
    "lr_anneal_steps": "train.steps",
    "microbatch": "train.gradient_accumulation_steps",
    "use_kl": "train.loss",
    "rescale_learned_sigmas": "train.loss",
    "schedule_sampler": "train.timestep_sampler",
    "ema_rate": "train.ema_rates",
    "log_interval": "train.log_every",
    "save_interval": "train.checkpoints",
    "resume_checkpoint": "train.init_from",
    "num_samples": "analyze.samples",
    "timestep_respacing": "analyze.ddim_steps",
}


def load(path: str | Path, overrides: typing.Sequence[str] = (), cluster: str | None = None) -> Experiment:
    """Load and check an experiment: a YAML file, then a cluster profile, then `key=value` overrides.

    `cluster` is the name of a profile in configs/cluster or the path of a YAML file. Raises UserError for a missing or
    unreadable file, an unknown key, a wrong type, a value out of range and an impossible combination; the message names
    the key, the value and the allowed values.
    """
    path = Path(path)
    if "source" in _read(path):
        raise UserError(
            f"{path} describes a pretrained model; analyze it with  python -m analyze model {path}  or with  "
            f"python -m launch {path}"
        )
    return _load(Experiment, path, {"name": path.stem}, overrides, cluster)


def load_study(
    source: str, overrides: typing.Sequence[str] = (), cluster: str | None = None
) -> Experiment | ModelStudy:
    """Load the experiment or model study in a YAML file, or a study of the model `source`, like `load`."""
    is_yaml = Path(source).suffix in YAML_SUFFIXES
    is_model = Path(source).exists() and (not is_yaml or "source" in _read(Path(source)))
    return (load_model_study if is_model else load)(source, overrides, cluster)


def load_model_study(source: str, overrides: typing.Sequence[str] = (), cluster: str | None = None) -> ModelStudy:
    """Load the study in a YAML file, or return a study of the model `source`. Raises UserError like `load`."""
    content = OmegaConf.create()
    if Path(source).suffix in YAML_SUFFIXES:
        if "seeds" in (content := _read(Path(source))) or "train" in content:
            raise UserError(f"{source} describes an experiment; analyze it with  python -m analyze {source}")
        study = _load(ModelStudy, Path(source), {"name": Path(source).stem}, overrides, cluster)
    else:
        defaults = {"name": _study_name(Path(source)), "source": source}
        study = _load(ModelStudy, None, defaults, overrides, cluster)
    settings = OmegaConf.merge(content, _parse(overrides))
    if study.sweep and OmegaConf.select(settings, "analyze.ddim_steps") is None:
        study.analyze.ddim_steps = max(study.sweep)
    return study


def describes_experiment(source: str) -> bool:
    """Return whether a source is the YAML file of an experiment, and not of a model study or a model."""
    return Path(source).suffix in YAML_SUFFIXES and Path(source).is_file() and "source" not in _read(Path(source))


def _study_name(source: Path) -> str:
    """Return the name of a model's file or folder, or "experiment_seed_0_step" for a checkpoint of a run folder."""
    parts, name = source.parts[-4:], source.stem if source.is_file() else source.name
    if len(parts) == 4 and parts[2] == "checkpoints":
        name = "_".join((parts[0], parts[1], parts[3]))
    return re.sub(r"[^\w.-]", "_", name)


def load_resolved(path: Path) -> Experiment:
    """Load the config.yaml of a run folder. Raises UserError if it cannot be read."""
    return _load(Experiment, path, {}, (), warn=False)


def _load(
    kind: type[Root],
    path: Path | None,
    defaults: dict[str, str],
    overrides: typing.Sequence[str],
    cluster: str | None = None,
    warn: bool = True,
) -> Root:
    config = OmegaConf.structured(kind)
    config.merge_with(defaults)
    if path is not None:
        config = _merge(kind, config, _read(path), str(path), warn)
    if cluster is not None:
        profile = Path(cluster) if cluster.endswith(".yaml") else PROFILES / f"{cluster}.yaml"
        config = _merge(kind, config, OmegaConf.create({"cluster": _read(profile)}), str(profile))
    config = _merge(kind, config, _parse(overrides), "command line")
    sources = [str(path)] if path else []
    if overrides or not path:
        sources.append("command line")
    return _check(config, " and ".join(sources))


def to_yaml(root: Experiment | ModelStudy) -> str:
    return OmegaConf.to_yaml(OmegaConf.structured(root))


def _read(path: Path) -> DictConfig:
    try:
        text = path.read_text(encoding="utf-8")
        check_limits(text)
        content = OmegaConf.load(io.StringIO(text))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {_available(path)}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not the YAML file of an experiment") from None
    except Exception as error:  # values such as dates raise arbitrary exceptions
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, DictConfig):
        raise UserError(f"{path}: contains a list or a single value instead of `key: value` lines")
    return content


def _available(path: Path) -> str:
    files = sorted(path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    if not files:
        return f"{path.parent}/ contains no YAML files"
    return f"available: {', '.join(map(str, files))}"


def _parse(overrides: typing.Sequence[str]) -> DictConfig:
    for override in overrides:
        if "=" not in override:
            raise UserError(f'command line: "{override}" does not have the form key=value')
    try:
        for override in overrides:
            check_limits(override.partition("=")[2])
        return OmegaConf.from_dotlist(list(overrides))
    except Exception as error:  # see _read
        raise UserError(f"command line: cannot be parsed: {' '.join(str(error).split())}") from None


def _merge(kind: type, config: Any, changes: DictConfig, source: str, warn: bool = True) -> Any:
    known = dict(options(kind))
    _rename_options(changes, known, source, warn)
    for problem in _key_problems(changes, known):
        raise UserError(f"{source}: {problem}")
    try:
        return OmegaConf.merge(config, changes)
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        key = getattr(error, "full_key", None) or ""
        # `_allowed` lists the values that OmegaConf lists in Python's syntax.
        prefix, reason = f"{key}: " if key else "", first_line(error).partition(", expected one of [")[0]
        hint = "; YAML requires a space after the colon" if re.search(r"Key '\w+:\S+' not in", reason) else ""
        raise UserError(f"{source}: {prefix}{reason}{hint}{_allowed(known.get(key))}") from None


def _rename_options(changes: DictConfig, known: typing.Container[str], source: str, warn: bool) -> None:
    """Replace the old names of options in place. Raises UserError if the new name is set as well."""
    for old, new in RENAMED_OPTIONS.items():
        section, name, new_name = *old.rpartition(".")[::2], new.rpartition(".")[2]
        values = _raw(changes).get(section) if section else changes
        if new not in known or not isinstance(values, DictConfig) or name not in _raw(values):
            continue
        if new_name in values:
            raise UserError(f"{source}: {old} is now {new}; set only {new}")
        values[new_name] = _raw(values)[name]
        del values[name]
        if warn:
            print(f"warning: {old} is now {new}; the old name will be removed in version 0.3", file=sys.stderr)


def _raw(config: DictConfig) -> dict[Any, Any]:
    """Return the values of a section without resolving interpolations, which may fail."""
    return dict(config.items_ex(resolve=False))


def _key_problems(changes: DictConfig, known: dict[str, dataclasses.Field]) -> Iterator[str]:
    """Yield the problems with keys: unknown keys, and values in place of sections or lists."""
    sections = {key.rsplit(".", depth)[0] for key in known for depth in range(1, key.count(".") + 1)}
    for key, value in _leaves(changes, known):
        if key in sections:
            yield f"{key}={value}: {key} is a section; set its options, as in {key}.…=…"
        elif key not in known:
            yield f'unknown key "{key}"; {_nearest(key, list(known))}'
        elif typing.get_origin(known[key].type) is list and not isinstance(value, ListConfig):
            yield f"{key}: {value} is not a list{_allowed(known[key])}"


def _leaves(changes: DictConfig, known: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in _raw(changes).items():
        if isinstance(value, DictConfig) and len(value) and f"{prefix}{key!s}" not in known:
            yield from _leaves(value, known, f"{prefix}{key!s}.")
        else:
            yield f"{prefix}{key!s}", value


def _nearest(key: str, known: list[str]) -> str:
    section, _, ending = key.rpartition(".")
    if (other := OTHER_NAMES.get(ending)) and any(name.startswith(other) for name in known):
        return f'did you mean "{other}"?'
    siblings = [other.rpartition(".")[2] for other in known if section and other.rpartition(".")[0] == section]
    similar = [f"{section}.{name}" for name in difflib.get_close_matches(ending, siblings, n=1)]
    similar += [other for other in known if other.rpartition(".")[2] == ending]
    if not siblings:
        similar = difflib.get_close_matches(key, known, n=1) + similar
    if similar:
        return f'did you mean "{similar[0]}"?'
    return f"the options of {section} are {', '.join(siblings)}" if siblings else "see --help"


def _allowed(field: dataclasses.Field | None) -> str:
    return f" (expected {type_name(field.type)})" if field else ""


def _check(config: DictConfig, source: str) -> Any:
    try:
        root = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise UserError(f"{source}: {first_line(error)}") from None
    check(typing.cast(Any, root), source)
    return root


def options(kind: type = Experiment, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field]]:
    """Yield all options of a section and its subsections as (dotted key, field), in the order of the schema."""
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.type):
            yield from options(typing.cast(type, field.type), f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field


def type_name(annotation: Any) -> str:
    """Describe a type for users: "int", "text", "cosine | linear", "list of float", "int or null"."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " | ".join(arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if argument is type(None) else type_name(argument) for argument in arguments)
    if origin is list:
        return f"list of {type_name(arguments[0])}"
    if origin is dict:
        return "dictionary"
    return {str: "text", bool: "true | false"}.get(annotation) or annotation.__name__


def differences(original: Experiment, current: Experiment) -> list[str]:
    """Return the changed options that a started run may not change, as "key: old, now new"."""

    def fixed_options(experiment: Any) -> Iterator[tuple[str, Any]]:
        for field in dataclasses.fields(experiment):
            value = getattr(experiment, field.name)
            if field.metadata["may_change"]:
                continue
            if dataclasses.is_dataclass(value):
                yield from ((f"{field.name}.{key}", inner) for key, inner in fixed_options(value))
            else:
                yield field.name, value

    new = dict(fixed_options(current))
    changes = [(key, old) for key, old in fixed_options(original) if new[key] != old]
    return [f"{key}: {value_text(old)}, now {value_text(new[key])}" for key, old in changes]


def value_text(value: Any) -> str:
    """Return the value of an option in YAML syntax."""
    return value if isinstance(value, str) else json.dumps(value, default=dataclasses.asdict)
