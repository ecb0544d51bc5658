"""`python -m analyze [COMMAND] …` runs a module of analyze/commands, by default "study"."""

import analyze.commands
from configs.command import dispatch
from configs.errors import exit_on_interrupt, run_command

exit_on_interrupt()
run_command(lambda arguments: dispatch(analyze.commands, "study", arguments))
