"""Jobs of a model study: measured time, progress, and exclusion of other processes."""

import pytest

from analyze.model import analyze_model
from analyze.model_record import exclusive
from configs.errors import UserError
from launch.model_jobs import AnalyzeModel, Generate
from launch.model_study import ModelStudyJobs
from records.layout import evaluation_seconds_file


def test_the_time_per_evaluation_is_measured(launched):
    study = launched()
    jobs = ModelStudyJobs(study)
    (analysis,) = [analysis for analysis in jobs.analyses if analysis.options.ddim_steps == 4]
    estimate = jobs.minutes(analysis)
    assert Generate(study, 1, 4, 0, 1)() == ""
    seconds = float(evaluation_seconds_file(study).read_text())
    assert jobs.minutes(analysis) == pytest.approx((8 * 4 * 4 - 4 * 4) * seconds / 60) != estimate


def test_progress_grows_with_every_stored_image_and_result(launched):
    """Progress is read from files, without opening the model."""
    study = launched()
    part, everything, analyze = Generate(study, 1, 4, 2, 5), Generate(study, 1, 4, 0, 8), AnalyzeModel(study, 1, 4)
    before = [work.progress() for work in (part, everything, analyze)]
    assert part() == ""
    after = [work.progress() for work in (part, everything, analyze)]
    assert [new - old for new, old in zip(after, before, strict=True)] == [3 * 4, 3 * 4, 3 * 4] and after[0] == 0
    assert analyze() == "" and analyze.progress() > after[2]
    assert AnalyzeModel(launched("name=other"), 1, 4).progress() == 0


def test_an_analysis_in_the_foreground_and_jobs_exclude_each_other(launched):
    study = launched()
    with exclusive(study):
        assert "is in use by another analysis" in Generate(study, 1, 4, 0, 1)()
    with exclusive(study, shared=True):
        assert Generate(study, 1, 4, 0, 1)() == ""
        with pytest.raises(UserError, match="is in use by another"):
            analyze_model(study)
