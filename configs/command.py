"""What all commands share: CONFIG.yaml key=value …, --help that lists every option, --dry-run."""

import argparse
import dataclasses
import importlib
import json
import pkgutil
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from configs.load import load, load_model_study, options, to_yaml, type_name
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
    parser = _parser(command, purpose, Experiment)
    parser.add_argument("config", help="YAML file of the experiment, e.g. configs/digits.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="options that differ from the file's")
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
    experiment = load(asked.config, asked.overrides, asked.cluster)
    if asked.dry_run:
        print(to_yaml(experiment), describe(experiment), sep="\n")
        sys.exit()
    return experiment, asked


def dispatch(package: types.ModuleType, default: str, arguments: list[str]) -> None:
    """Runs the command that the first argument names, or else the default one.

    Commands are the modules of `package`, each with PURPOSE and main(arguments).
    """

    def command(name: str) -> types.ModuleType:
        return importlib.import_module(f"{package.__name__}.{name}")

    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    if not arguments or arguments[0] in ("-h", "--help"):
        about = [f"  {name:10} {command(name).PURPOSE}" for name in names]
        usage = f"usage: python -m {package.__name__.partition('.')[0]} [COMMAND] …"
        print("\n".join([usage, "", f"commands, each with its own --help; without one: {default}", *about]))
        sys.exit(0 if arguments else 2)
    name, rest = (arguments[0], arguments[1:]) if arguments[0] in names else (default, arguments)
    command(name).main(rest)


def model_command(command: str, purpose: str, arguments: list[str]) -> tuple[ModelStudy, argparse.Namespace]:
    """The study of a model that a command line asks for, and all else that was asked; --help ends the process."""
    parser = _parser(command, purpose, ModelStudy)
    parser.add_argument("source", help="YAML file of the study, or the model itself (see the option `source`)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="options that differ from the file's")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the configuration, what the model is and the sweep; do no more"
    )
    asked = parser.parse_intermixed_args(arguments)
    return load_model_study(asked.source, asked.overrides), asked


def _parser(command: str, purpose: str, kind: type) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=command,
        description=purpose,
        epilog="Options, each set as key=value:\n\n" + "\n".join(option_lines(kind)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def option_lines(kind: type = Experiment) -> Iterator[str]:
    """Every option as "key  type, default, unit: meaning", a heading line before each section."""
    section = None
    for key, field in options(kind):
        if key.rpartition(".")[0] != section:
            section = key.rpartition(".")[0]
            yield f"\n {section or 'general'}"
        unit = f", {field.metadata['unit']}" if field.metadata["unit"] else ""
        yield f"  {key} ({type_name(field.type)}{unit}; default {default_text(field)})"
        yield f"      {field.metadata['meaning']}"


def default_text(field: dataclasses.Field) -> str:
    """A default as it would be written in YAML."""
    factory: Any = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    if isinstance(default, list) and default and dataclasses.is_dataclass(default[0]):
        default = [dataclasses.asdict(one) for one in default]
    return default if isinstance(default, str) else json.dumps(default)
