"""Command-line behavior of python -m analyze model."""


def test_dry_run_describes_the_model_and_writes_nothing(start, pipelines, tmp_path):
    process = start("analyze", "model", str(pipelines / "ldm_vq"), "--dry-run", f"runs={tmp_path}/runs")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "codes of 3 × 16 × 16" in output and "T = 10, 50, 100, 500, 1,000 DDIM" in output
    assert list(tmp_path.iterdir()) == []


def test_error_is_a_single_line(start, tmp_path):
    process = start("analyze", "model", str(tmp_path / "nothing.pt"), f"runs={tmp_path}/runs")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2 and errors.startswith("error: ") and errors.count("\n") == 1
    assert "neither an existing file or folder" in errors


def test_help_lists_the_options_of_a_model_study(start):
    output, _ = start("analyze", "model", "--help").communicate(timeout=60)
    assert "sweep" in output and "openai.schedule" in output and "train.steps" not in output
