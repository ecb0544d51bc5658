"""Command lines of all commands: CONFIG.yaml key=value …, --help that lists all options, and --dry-run."""

import argparse
import dataclasses
import importlib
import pkgutil
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import MISSING

from configs.errors import UserError
from configs.load import load, load_model_study, load_study, to_yaml, type_name, value_text
from configs.schema import Experiment, ModelStudy

Root = TypeVar("Root", bound=Experiment | ModelStudy)


def experiment_command(
    command: str, purpose: str, arguments: list[str], describe: Callable[[Experiment], str] = lambda _: ""
) -> Experiment:
    """Load the experiment of a command line; --help and --dry-run print and end the process.

    `describe` returns the text that --dry-run prints before the resolved configuration.
    """
    return parse(experiment_parser(command, purpose), arguments, describe)[0]


def study_command(command: str, purpose: str, arguments: list[str]) -> Experiment | ModelStudy:
    """Load the experiment or model study of a command line like `experiment_command`."""
    return parse_study(study_parser(command, purpose), arguments)[0]


def study_parser(command: str, purpose: str) -> argparse.ArgumentParser:
    """Return the parser of a command that takes an experiment or a model study."""
    parser = experiment_parser(command, purpose, "the experiment or model study, e.g. configs/openai_cifar10.yaml")
    parser.epilog = f"options of a model study: python -m analyze model --help\n{parser.epilog}"
    return parser


def experiment_parser(
    command: str, purpose: str, source_help: str = "the experiment, e.g. configs/digits.yaml"
) -> argparse.ArgumentParser:
    """Return the parser that all commands share; a command may add arguments to it."""
    parser = _parser(command, purpose, Experiment, metavar="CONFIG.yaml", help=source_help)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the costs or the job plan, if there are any, and the resolved configuration, and exit",
    )
    parser.set_defaults(cluster=None)
    return parser


def parse(
    parser: argparse.ArgumentParser, arguments: list[str], describe: Callable[[Experiment], str] = lambda _: ""
) -> tuple[Experiment, argparse.Namespace]:
    """Load the experiment of a command line like `experiment_command`, and return it with all parsed arguments."""
    return _parse(load, parser, arguments, describe)


def parse_study(
    parser: argparse.ArgumentParser,
    arguments: list[str],
    describe: Callable[[Experiment | ModelStudy], str] = lambda _: "",
) -> tuple[Experiment | ModelStudy, argparse.Namespace]:
    """Load the experiment or model study of a command line, and return it with all parsed arguments."""
    return _parse(load_study, parser, arguments, describe)


def _parse(
    load_root: Callable[..., Root],
    parser: argparse.ArgumentParser,
    arguments: list[str],
    describe: Callable[[Root], str],
) -> tuple[Root, argparse.Namespace]:
    options = parser.parse_intermixed_args(arguments)
    root = load_root(options.source, options.overrides, options.cluster)
    if options.dry_run:
        print(dry_run(root, describe(root)))
        sys.exit()
    return root, options


def dry_run(root: Experiment | ModelStudy, description: str) -> str:
    """Return what --dry-run prints: a description, if there is one, and the resolved configuration."""
    return f"{description}\n\nConfiguration:\n\n{to_yaml(root)}" if description else to_yaml(root)


def dispatch(package: types.ModuleType, default: str, arguments: list[str]) -> None:
    """Run the command that the first argument names, or else the default command.

    Commands are the modules of `package`, each with PURPOSE and main(arguments). Raises UserError if the first argument
    is neither a command nor a file.
    """

    def command(name: str) -> types.ModuleType:
        return importlib.import_module(f"{package.__name__}.{name}")

    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    if not arguments or arguments[0] in ("-h", "--help"):
        purposes = [f"  {name:10} {command(name).PURPOSE}" for name in names]
        program = f"python -m {package.__name__.partition('.')[0]}"
        usage = f"usage: {program} [COMMAND] CONFIG.yaml [key=value ...]"
        print("\n".join([usage, "", f"commands (default: {default}):", *purposes, ""]))
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
    """Load the model study of a command line, and return it with all parsed arguments; --help ends the process."""
    source_help = "YAML file of the study, or a model: see the option `source`"
    parser = _parser(command, purpose, ModelStudy, metavar="SOURCE", help=source_help)
    parser.add_argument(
        "--dry-run", action="store_true", help="print the model, the sweep and the configuration, and exit"
    )
    options = parser.parse_intermixed_args(arguments)
    return load_model_study(options.source, options.overrides), options


def _parser(command: str, purpose: str, kind: type, **source: str) -> argparse.ArgumentParser:
    """Return a parser of a `source` and key=value options, which --help lists."""
    parser = argparse.ArgumentParser(
        prog=command,
        description=purpose,
        epilog="options set as key=value; ↻ may change after a run has started:\n" + "\n".join(option_lines(kind)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", **source)  # type: ignore[arg-type]
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="options, listed below")
    return parser


@dataclass(frozen=True)
class SchemaSection:
    """A section of the schema; `name` is a dotted key like "train.checkpoints", empty for the root."""

    kind: type
    name: str = ""
    meaning: str = ""
    may_change: bool = False

    def options(self) -> Iterator[tuple[str, dataclasses.Field]]:
        """Yield the options of this section as (dotted key, field), without those of subsections."""
        return ((self._key(field), field) for field in dataclasses.fields(self.kind) if not _is_section(field))

    def sections(self) -> "Iterator[SchemaSection]":
        """Yield this section and all subsections, in the order of the schema."""
        yield self
        for field in filter(_is_section, dataclasses.fields(self.kind)):
            about = field.metadata["meaning"], self._allows_change(field)
            yield from SchemaSection(field.type, self._key(field), *about).sections()  # type: ignore[arg-type]

    def mark(self, field: dataclasses.Field) -> str:
        """Return " ↻" if an option of this section may change after a run has started, or ""."""
        return " ↻" if self._allows_change(field) else ""

    def _allows_change(self, field: dataclasses.Field) -> bool:
        return self.may_change or field.metadata["may_change"]

    def _key(self, field: dataclasses.Field) -> str:
        return f"{self.name}.{field.name}" if self.name else field.name


def _is_section(field: dataclasses.Field) -> bool:
    return dataclasses.is_dataclass(field.type)


def option_lines(kind: type = Experiment) -> Iterator[str]:
    """Yield the help text: a heading per section, "key (type, unit, range; default)" and meaning per option."""
    for section in SchemaSection(kind).sections():
        yield f"\n {section.name}: {section.meaning}" if section.name else ""
        for key, field in section.options():
            properties = ", ".join(filter(None, [type_name(field.type), field.metadata["unit"], limits(field)]))
            default = default_text(field)
            yield f"  {key} ({properties}{f'; default {default}' if default else ''}){section.mark(field)}"
            yield f"      {field.metadata['meaning']}"


def limits(field: dataclasses.Field) -> str:
    """Return the range of an option, as in "≥ 0, ≤ 0.99"."""
    ends = (("≥", field.metadata["at_least"]), ("≤", field.metadata["at_most"]))
    return ", ".join(f"{sign} {end:g}" for sign, end in ends if end is not None)


def default_text(field: dataclasses.Field) -> str:
    """Return the default of an option in YAML syntax, empty if the option is required."""
    factory: Any = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    return "" if default == MISSING else value_text(default)
