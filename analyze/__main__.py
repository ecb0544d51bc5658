"""`python -m analyze [COMMAND] …` runs a module of analyze/commands, by default "study"."""

import analyze.commands
from configs.command import dispatch
from configs.errors import run_command

run_command(lambda arguments: dispatch(analyze.commands, "study", arguments))
