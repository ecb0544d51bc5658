"""The command `python -m train`."""

import re
import shlex


def test_the_command_at_the_end_analyzes_the_trained_seed(tmp_path, command_line, start):
    options = command_line(tmp_path, "seed=10", "wandb.mode=disabled", f"wandb.project={shlex.quote('a b')}")
    output, errors = start("train", *options).communicate(timeout=180)
    command = re.search("Analyze the checkpoints with  python -m (.*)\n", output)
    assert command is not None, errors
    analysis = start(*shlex.split(command[1]))
    output, errors = analysis.communicate(timeout=300)
    assert analysis.returncode == 0 and "one seed" in output, errors
