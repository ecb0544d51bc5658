"""python -m analyze COMMAND: which commands there are, and what is asked of them."""


def test_without_arguments_the_commands_are_listed(command_line):
    asked = command_line("analyze")
    assert asked.returncode == 2 and "study" in asked.stdout and "Analyses every checkpoint" in asked.stdout


def test_each_command_has_help(command_line):
    assert "usage: python -m analyze" in command_line("analyze", "study", "--help").stdout


def test_what_is_no_command_is_a_configuration(command_line):
    asked = command_line("analyze", "nosuch.yaml")
    assert asked.returncode == 2 and "nosuch.yaml: no such file" in asked.stderr
