"""python -m analyze [COMMAND] …: the commands are the modules of analyze/commands; without one it is "study"."""

import importlib
import pkgutil
import sys

import analyze.commands
from configs.errors import run_command

COMMANDS = sorted(module.name for module in pkgutil.iter_modules(analyze.commands.__path__))


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        sys.exit(0 if arguments else 2)
    name, rest = (arguments[0], arguments[1:]) if arguments[0] in COMMANDS else ("study", arguments)
    command(name).main(rest)


def command(name: str):
    return importlib.import_module(f"analyze.commands.{name}")


def usage() -> str:
    about = [f"  {name:10} {command(name).PURPOSE}" for name in COMMANDS]
    return "\n".join(["usage: python -m analyze [COMMAND] …", "", "commands, each with its own --help:", *about])


run_command(main)
