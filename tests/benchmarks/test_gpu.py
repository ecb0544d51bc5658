"""Stages of a measurement with a time limit: what ends in time, what is stopped, and what is killed."""

import json
import sys

from benchmarks import gpu
from benchmarks.gpu import Stage, run, run_all, stages

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"


def python(code: str, share: float | None = 0.5) -> Stage:
    return Stage("stage", share, [sys.executable, "-c", code])


def test_output_and_status_of_a_stage_are_kept(tmp_path):
    outcome = run(python("print('done'); raise SystemExit(3)"), 60, tmp_path / "out.txt")
    assert (outcome.status, outcome.timed_out) == (3, False)
    assert (tmp_path / "out.txt").read_text() == "done\n"


def test_a_stage_that_ignores_its_limit_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "STOP_S", 1.0)
    outcome = run(python(STUBBORN), 2, tmp_path / "out.txt")
    assert (outcome.status, outcome.timed_out) == (None, True) and outcome.seconds < 30


def test_results_are_written_after_every_stage(tmp_path):
    outcomes = run_all([python("print(1)"), python("import time; time.sleep(60)", share=None)], 4, tmp_path)
    stored = json.loads((tmp_path / "gpu.json").read_text())["stages"]
    assert [item["timed_out"] for item in stored] == [False, True] and len(outcomes) == 2
    assert "stopped at the limit" in (tmp_path / "gpu.md").read_text()


def test_the_experiment_is_profiled_and_trained(tmp_path, command_line):
    config, *options = command_line(tmp_path)
    chosen = stages(config, options, None, tmp_path)
    outcomes = [run(stage, 300, tmp_path / f"{stage.name}.txt") for stage in chosen[-3:-1]]
    outputs = {outcome.name: (tmp_path / f"{outcome.name}.txt").read_text() for outcome in outcomes}
    assert [outcome.status for outcome in outcomes] == [0, 0], outputs
    assert "training step, batch" in outputs["profile"] and "network call, batch" in outputs["profile"]
    assert "aten::" in outputs["profile"] and "8 of 8 steps" in outputs["train"]
