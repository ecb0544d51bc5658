"""python -m launch [COMMAND] …: the commands are the modules of launch/commands; without one it is "study"."""

import launch.commands
from configs.command import dispatch
from configs.errors import run_command

run_command(lambda arguments: dispatch(launch.commands, "study", arguments))
