"""Command-line behavior of python -m analyze."""


def test_no_arguments_lists_the_commands(start):
    process = start("analyze")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "study" in output and "Analyze every checkpoint" in output


def test_each_command_has_help(start):
    output, _ = start("analyze", "study", "--help").communicate(timeout=60)
    assert "usage: python -m analyze" in output


def test_unknown_argument_is_read_as_a_configuration(start):
    process = start("analyze", "nosuch.yaml")
    assert "nosuch.yaml: no such file" in process.communicate(timeout=60)[1] and process.returncode == 2


def test_misspelled_command_is_reported(start):
    process = start("analyze", "stduy", "configs/digits.yaml")
    assert '"stduy" is neither a command (compare, ' in process.communicate(timeout=60)[1] and process.returncode == 2
