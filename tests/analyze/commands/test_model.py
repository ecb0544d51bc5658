"""Command-line behavior of python -m analyze model."""

from tiny_pipelines import tiny_pipeline


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


def test_dry_run_estimates_evaluations_and_memory(start, tmp_path):
    """Guidance doubles the evaluations of samples, latents, reconstructions and trajectories."""
    tiny_pipeline("stable_diffusion").save_pretrained(tmp_path / "model")
    options = ["guidance=3", "prompts=[a cat, two dogs]", "sweep=[2]", "analyze.ddim_steps=4", "analyze.samples=6"]
    process = start("analyze", "model", str(tmp_path / "model"), "--dry-run", f"runs={tmp_path}/runs", *options)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "prompts, in turn: “a cat”; “two dogs”" in output and "guidance 3" in output
    assert f"{2 * 6 * (2 + 4) * 4} network evaluations for everything that is missing, with 6 images" in output
    assert "M parameters; 0.00 GB on every device" in output
