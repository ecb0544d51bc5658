"""Failures of checkpoints: their records, and those of the last checkpoint, which all others depend on."""

import json
import os
import shutil

import pytest
import torch

from analyze import generate
from analyze.analysis import SeedAnalysis
from records import checkpoint

STEPS = [0, 2, 5, 8]


def truncate_weights(analysis: SeedAnalysis, step: int) -> str:
    """Damage the weights of a checkpoint; return the path of the file."""
    file = analysis.run.checkpoint(step) / "ema_0.99.safetensors"
    os.truncate(file, file.stat().st_size // 2)
    return str(file)


def test_a_damaged_checkpoint_is_recorded_and_the_others_are_analyzed(trained):
    file = truncate_weights(trained, 2)
    trained.analyze(trained.missing())
    assert trained.missing() == [2] and trained.results(2) == {}
    assert trained.failures().keys() == {2} and file in trained.failures()[2]
    recorded = json.loads(trained.failure_file(2).read_text())
    assert recorded == {"step": 2, "why": trained.failures()[2]} and "\n" not in recorded["why"]


def test_a_failure_is_removed_after_a_successful_analysis(trained):
    file = trained.run.checkpoint(2) / "ema_0.99.safetensors"
    content = file.read_bytes()
    truncate_weights(trained, 2)
    trained.analyze([2])
    assert trained.failures().keys() == {2}
    file.write_bytes(content)
    trained.analyze([2])
    assert trained.failures() == {} and 2 not in trained.missing()


def test_a_damaged_last_checkpoint_is_reported_for_all_checkpoints(trained):
    file = truncate_weights(trained, 8)
    trained.analyze(STEPS)
    assert trained.missing() == STEPS[::-1]
    failures = trained.failures()
    assert failures.keys() == set(STEPS) and all(file in reason for reason in failures.values())
    assert all("the last checkpoint" in failures[step] for step in (0, 2, 5))


def replace_weights_by_nan(analysis: SeedAnalysis, step: int) -> None:
    path = analysis.run.checkpoint(step)
    source = checkpoint.read(path)
    weights = {name: torch.full_like(value, torch.nan) for name, value in source.weights("ema_0.99").items()}
    shutil.rmtree(path)
    checkpoint.write(path, step, 0, source.model, source.diffusion, {"ema_0.99": weights})


def test_images_of_a_failing_last_checkpoint_are_generated_once(trained, monkeypatch):
    replace_weights_by_nan(trained, 8)
    generated = []

    def sample(*arguments):
        generated.append(arguments)
        return generate.sample(*arguments)

    monkeypatch.setattr("analyze.generations.sample", sample)
    trained.analyze(trained.missing())
    assert len(generated) == 1 and all("not finite" in reason for reason in trained.failures().values())
    assert trained.failures().keys() == set(STEPS)


def test_weights_that_are_not_finite_are_recorded_as_a_failure(trained):
    replace_weights_by_nan(trained, 5)
    trained.analyze(STEPS)
    assert trained.missing() == [5] and "not finite" in trained.failures()[5]
    assert not trained.generations(5).file("samples").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_damaged_record_of_a_failure_is_reported(content, complete):
    complete.results_file(5).unlink()
    complete.failure_file(5).write_text(content)
    assert list(complete.failures()) == [5] and "failed.json is damaged" in complete.failures()[5]
