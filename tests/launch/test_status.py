"""The status of a study from its files alone."""

import os
from pathlib import Path

from submitit.core.utils import JobPaths, cloudpickle_dump

from analyze.analysis import SeedAnalysis
from configs.schema import Experiment
from launch.jobs import Analyze
from launch.plan import Job
from launch.slurm import submissions
from launch.status import status
from records.atomic import write_json, write_text


def submitted(experiment: Experiment, name: str, folder: Path) -> JobPaths:
    """Record a job that analyzes steps 2 and 5 of seed 0, and return its paths."""
    job = Job(name, Analyze(experiment, 1, 0, (2, 5)))
    submission = submissions.write(experiment, [job], ["17"], "tiny", folder / "logs")
    return submission.paths(submission.tasks[0])


def test_a_checkpoint_that_failed_in_an_early_analysis_is_listed_with_its_log(with_checkpoints, tmp_path):
    experiment = with_checkpoints("seeds=[0]")
    log = submitted(experiment, "early seed 0 steps 2–5", tmp_path).stderr
    write_text(log, "why\n")
    write_json(SeedAnalysis(experiment, 0).failure_file(2), {"step": 2, "why": "it is damaged"})
    assert f"seed 0, step 2: it is damaged (log: {log})" in status(experiment)


def test_a_damaged_result_of_a_job_is_a_failure(with_checkpoints, tmp_path):
    experiment = with_checkpoints("seeds=[0]")
    result = submitted(experiment, "analyze seed 0 steps 2–5", tmp_path).result_pickle
    write_text(result, "no pickle")
    assert f"failed: {result} is damaged: " in status(experiment)


def test_the_log_of_the_process_that_failed_first_is_named(with_checkpoints, tmp_path):
    """Process 0 of a training may end without a result, or fail later because another process is gone."""
    experiment = with_checkpoints("seeds=[0]")
    paths = [submitted(experiment, "train seed 0", tmp_path)]
    paths += [JobPaths(tmp_path / "logs", "17", rank) for rank in (1, 10)]
    paths[0].folder.mkdir()
    for seconds, (rank, error) in enumerate([(2, "UserError: the disk is full"), (1, "the connection is lost")]):
        cloudpickle_dump(("error", f"Traceback …\nconfigs.errors.{error}"), file := paths[rank].result_pickle)
        os.utime(file, (seconds, seconds))
        assert f"failed: the disk is full (log: {paths[2].stderr})" in status(experiment)
    cloudpickle_dump(("success", None), paths[0].result_pickle)
    assert f"failed: the disk is full (log: {paths[2].stderr})" in status(experiment)
