"""What all commands share: CONFIG.yaml key=value …, --help that lists every option, --dry-run."""

import argparse
import dataclasses
import importlib
import json
import pkgutil
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from configs.errors import UserError
from configs.load import load, load_model_study, to_yaml, type_name
from configs.schema import Experiment, ModelStudy


def experiment_command(
    command: str, purpose: str, arguments: list[str], describe: Callable[[Experiment], str] = lambda _: ""
) -> Experiment:
    """The experiment that a command line asks for; --help and --dry-run print and end the process.

    `describe` is what --dry-run says after the resolved configuration.
    """
    return parsed(experiment_parser(command, purpose), arguments, describe)[0]


def experiment_parser(command: str, purpose: str) -> argparse.ArgumentParser:
    """What all commands understand; a command that wants more adds it."""
    about = "the experiment, e.g. configs/digits.yaml"
    parser = _parser(command, purpose, Experiment, metavar="CONFIG.yaml", help=about)
    parser.add_argument(
        "--dry-run", action="store_true", help="print the resolved configuration and what it costs, and do nothing"
    )
    parser.set_defaults(cluster=None)
    return parser


def parsed(
    parser: argparse.ArgumentParser, arguments: list[str], describe: Callable[[Experiment], str] = lambda _: ""
) -> tuple[Experiment, argparse.Namespace]:
    """The experiment that a command line asks for, and all else that was asked: see `experiment_command`."""
    asked = parser.parse_intermixed_args(arguments)
    experiment = load(asked.source, asked.overrides, asked.cluster)
    if asked.dry_run:
        print(to_yaml(experiment), describe(experiment), sep="\n")
        sys.exit()
    return experiment, asked


def dispatch(package: types.ModuleType, default: str, arguments: list[str]) -> None:
    """Runs the command that the first argument names, or else the default one.

    Commands are the modules of `package`, each with PURPOSE and main(arguments). Raises UserError where the first
    argument is no command and cannot be a file.
    """

    def command(name: str) -> types.ModuleType:
        return importlib.import_module(f"{package.__name__}.{name}")

    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    if not arguments or arguments[0] in ("-h", "--help"):
        about = [f"  {name:10} {command(name).PURPOSE}" for name in names]
        program = f"python -m {package.__name__.partition('.')[0]}"
        usage = f"usage: {program} [COMMAND] CONFIG.yaml [key=value ...]"
        print("\n".join([usage, "", f"commands, where none is named {default}:", *about, ""]))
        print(f"options: {program} COMMAND --help")
        sys.exit(0 if arguments else 2)
    first, *rest = arguments
    if first in names:
        command(first).main(rest)
    elif first.startswith("-") or Path(first).suffix or Path(first).exists():
        command(default).main(arguments)
    else:
        raise UserError(f'"{first}" is neither a command ({", ".join(names)}) nor the YAML file of an experiment')


def model_command(command: str, purpose: str, arguments: list[str]) -> tuple[ModelStudy, argparse.Namespace]:
    """The study of a model that a command line asks for, and all else that was asked; --help ends the process."""
    about = "YAML file of the study, or the model itself: see the option `source`"
    parser = _parser(command, purpose, ModelStudy, metavar="SOURCE", help=about)
    parser.add_argument(
        "--dry-run", action="store_true", help="print the configuration, what the model is and the sweep; do no more"
    )
    asked = parser.parse_intermixed_args(arguments)
    return load_model_study(asked.source, asked.overrides), asked


def _parser(command: str, purpose: str, kind: type, **source: str) -> argparse.ArgumentParser:
    """A command of a `source` and of key=value, which --help lists."""
    parser = argparse.ArgumentParser(
        prog=command,
        description=purpose,
        epilog="options set as key=value:\n" + "\n".join(option_lines(kind)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", **source)  # type: ignore[arg-type]
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="options, listed below")
    return parser


@dataclass(frozen=True)
class Section:
    """A section of the schema: `name` is "train.checkpoints", or empty for the root."""

    kind: type
    name: str = ""
    meaning: str = ""
    may_change: bool = False

    def options(self) -> Iterator[tuple[str, dataclasses.Field]]:
        """Its own options as (dotted key, field), without those of the sections below it."""
        return ((self._key(field), field) for field in dataclasses.fields(self.kind) if not _is_section(field))

    def sections(self) -> "Iterator[Section]":
        """Itself and all below it, in the order of the schema."""
        yield self
        for field in filter(_is_section, dataclasses.fields(self.kind)):
            may_change = self.may_change or field.metadata["may_change"]
            yield from Section(field.type, self._key(field), field.metadata["meaning"], may_change).sections()  # type: ignore[arg-type]

    def _key(self, field: dataclasses.Field) -> str:
        return f"{self.name}.{field.name}" if self.name else field.name


def _is_section(field: dataclasses.Field) -> bool:
    return dataclasses.is_dataclass(field.type)


def option_lines(kind: type = Experiment) -> Iterator[str]:
    """Every option as "key (type, unit, range; default)" and what it means, a heading line before each section."""
    for section in Section(kind).sections():
        yield f"\n {section.name}: {section.meaning}" if section.name else ""
        for key, field in section.options():
            about = ", ".join(filter(None, [type_name(field.type), field.metadata["unit"], limits(field)]))
            default = default_text(field)
            yield f"  {key} ({about}{f'; default {default}' if default else ''})"
            yield f"      {field.metadata['meaning']}"


def limits(field: dataclasses.Field) -> str:
    """The range of an option, as in "≥ 0, ≤ 0.99"."""
    ends = (("≥", field.metadata["at_least"]), ("≤", field.metadata["at_most"]))
    return ", ".join(f"{sign} {end:g}" for sign, end in ends if end is not None)


def default_text(field: dataclasses.Field) -> str:
    """A default as it would be written in YAML; empty where there is none."""
    factory: Any = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    if default == MISSING:
        return ""
    if isinstance(default, list) and default and dataclasses.is_dataclass(default[0]):
        default = [dataclasses.asdict(one) for one in default]
    return default if isinstance(default, str) else json.dumps(default)
