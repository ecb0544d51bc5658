"""A tiny model study after its launch."""

import pytest

from configs.schema import ModelStudy
from launch.model_study import ModelStudyJobs


@pytest.fixture
def study(tiny_model_study):
    """Return a function that returns a model study of a class-conditional checkpoint."""
    return tiny_model_study


@pytest.fixture
def launched(study):
    """Return a function that returns a model study that has been launched, without results."""

    def launch(*overrides: str) -> ModelStudy:
        ModelStudyJobs(study()).check(follow=False)
        return study(*overrides)

    return launch
