"""The kinds of studies."""

from launch.experiment import ExperimentJobs
from launch.model_study import ModelStudyJobs
from launch.studies import study_jobs


def test_the_kind_of_a_study_determines_its_jobs(tiny, study):
    assert isinstance(study_jobs(tiny()), ExperimentJobs) and isinstance(study_jobs(study()), ModelStudyJobs)
