"""python -m analyze [COMMAND] …: the commands are the modules of analyze/commands; without one it is "study"."""

import analyze.commands
from configs.command import dispatch
from configs.errors import run_command

run_command(lambda arguments: dispatch(analyze.commands, "study", arguments))
