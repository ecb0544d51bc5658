"""`python -m launch [COMMAND] …`: commands are the modules of launch/commands; the default is `study`."""

import launch.commands
from configs.command import dispatch
from configs.errors import run_command

run_command(lambda arguments: dispatch(launch.commands, "study", arguments))
