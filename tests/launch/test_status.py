"""The status of a study from its files alone."""

from analyze.analysis import SeedAnalysis
from launch.jobs import Analyze
from launch.plan import Job
from launch.slurm import submissions
from launch.status import status
from records.atomic import write_json, write_text


def test_a_checkpoint_that_failed_in_an_early_analysis_is_listed_with_its_log(with_checkpoints, tmp_path):
    experiment = with_checkpoints("seeds=[0]")
    early = Job("early seed 0 steps 2–5", Analyze(experiment, 1, 0, (2, 5)))
    submission = submissions.write(experiment, [early], ["17"], "tiny-early", tmp_path / "logs")
    log = submission.paths(submission.tasks[0]).stderr
    write_text(log, "why\n")
    write_json(SeedAnalysis(experiment, 0).failure_file(2), {"step": 2, "why": "it is damaged"})
    assert f"seed 0, step 2: it is damaged (log: {log})" in status(experiment)


def test_a_damaged_result_of_a_job_is_a_failure(with_checkpoints, tmp_path):
    experiment = with_checkpoints("seeds=[0]")
    job = Job("analyze seed 0 steps 2–5", Analyze(experiment, 1, 0, (2, 5)))
    submission = submissions.write(experiment, [job], ["17"], "tiny-analyze", tmp_path / "logs")
    result = submission.paths(submission.tasks[0]).result_pickle
    write_text(result, "no pickle")
    assert f"failed: {result} is damaged: " in status(experiment)
