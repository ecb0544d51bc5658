"""Names of W&B artifacts."""

import pytest
import wandb

from records.tracking.artifacts import KIND, artifact_name


@pytest.mark.parametrize("name", ["digits-seed_0-checkpoints", "a.b_c-9"])
def test_allowed_names_are_unchanged(name):
    assert artifact_name(name) == name


@pytest.mark.parametrize("name", ["λ-seed_0", "数字", "x" * 200, "a b/c:<d>\n\u202e"])
def test_any_name_becomes_an_allowed_and_distinct_one(name):
    assert wandb.Artifact(artifact_name(name), KIND).name.startswith(artifact_name(name))
    assert artifact_name(name) != artifact_name(name + "λ")
