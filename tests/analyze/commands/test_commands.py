"""Command-line behavior of python -m analyze."""

import signal

from analyze.analysis import SeedAnalysis
from configs.load import to_yaml


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


def test_ctrl_c_ends_with_one_sentence_and_the_same_command_continues(with_checkpoints, start, wait_until, tmp_path):
    experiment = with_checkpoints("seeds=[0]")
    (tmp_path / "tiny.yaml").write_text(to_yaml(experiment), encoding="utf-8")
    analysis, command = SeedAnalysis(experiment, 0), ("analyze", str(tmp_path / "tiny.yaml"), "wandb.mode=disabled")
    process = start(*command)
    wait_until(analysis.results_file(analysis.last_step).exists, pause_s=0.001)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and stderr.endswith("\ninterrupted; rerun the same command to resume\n")
    assert analysis.missing() and not analysis.failures() and "Traceback" not in stderr
    assert start(*command).wait(timeout=300) == 0 and not analysis.missing()
