"""python -m analyze model, as it is typed."""


def test_a_dry_run_says_what_the_model_is_and_makes_nothing(start, pipelines, tmp_path):
    asked = start("analyze", "model", str(pipelines / "ldm_vq"), "--dry-run", f"runs={tmp_path}/runs")
    said, _ = asked.communicate(timeout=120)
    assert asked.returncode == 0 and "codes of 3 × 16 × 16" in said and "T = 10, 50, 100, 500, 1,000 DDIM" in said
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_one_sentence(start, tmp_path):
    asked = start("analyze", "model", str(tmp_path / "nothing.pt"), f"runs={tmp_path}/runs")
    _, told = asked.communicate(timeout=120)
    assert asked.returncode == 2 and told.startswith("error: ") and told.count("\n") == 1 and "no such file" in told


def test_help_lists_the_options_of_a_study_of_a_model(start):
    said, _ = start("analyze", "model", "--help").communicate(timeout=60)
    assert "sweep" in said and "openai.schedule" in said and "train.steps" not in said
