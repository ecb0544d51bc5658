"""A tiny model study: two numbers T of DDIM steps of a class-conditional checkpoint."""

from pathlib import Path

import pytest

from configs.load import load_model_study
from configs.schema import ModelStudy
from launch.model_study import ModelStudyJobs
from records.layout import seed_folder

SMALL = [
    "sweep=[2,4]",
    "analyze.weights=model",
    "analyze.precision=fp32",
    "analyze.ddim_steps=4",
    "analyze.samples=8",
    "analyze.batch_size=1",
    "analyze.pictures=3",
    "analyze.measures.knn_k=2",
    "analyze.measures.inversion_checkpoints=none",
    "wandb.mode=disabled",
]


@pytest.fixture
def study(with_checkpoints, tmp_path):
    """Return a function that returns a model study of a class-conditional checkpoint."""
    folder = seed_folder(with_checkpoints("model.num_classes=4"), 0).checkpoint(8)

    def load(*overrides: str, source: Path = folder) -> ModelStudy:
        return load_model_study(str(source), [*SMALL, f"runs={tmp_path}/runs", "name=model", *overrides])

    return load


@pytest.fixture
def launched(study):
    """Return a function that returns a model study that has been launched, without results."""

    def launch(*overrides: str) -> ModelStudy:
        ModelStudyJobs(study()).check(follow=False)
        return study(*overrides)

    return launch
