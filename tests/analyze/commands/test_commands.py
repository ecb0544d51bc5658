"""python -m analyze COMMAND: which commands there are, and what is asked of them."""


def test_without_arguments_the_commands_are_listed(start):
    asked = start("analyze")
    said, _ = asked.communicate(timeout=60)
    assert asked.returncode == 2 and "study" in said and "Analyses every checkpoint" in said


def test_each_command_has_help(start):
    said, _ = start("analyze", "study", "--help").communicate(timeout=60)
    assert "usage: python -m analyze" in said


def test_what_is_no_command_is_a_configuration(start):
    asked = start("analyze", "nosuch.yaml")
    assert "nosuch.yaml: no such file" in asked.communicate(timeout=60)[1] and asked.returncode == 2


def test_a_misspelt_command_is_told_from_a_configuration(start):
    asked = start("analyze", "stduy", "configs/digits.yaml")
    assert '"stduy" is neither a command (compare, ' in asked.communicate(timeout=60)[1] and asked.returncode == 2
