"""Cost of an analysis, as --dry-run prints it before the configuration."""

from analyze.estimate import estimate
from configs.load import to_yaml


def test_cost_counts_what_is_missing(with_checkpoints):
    experiment = with_checkpoints("seeds=[0]", "analyze.inversion_steps=2")
    options, rows = experiment.analyze, dict(line.split(maxsplit=1) for line in estimate(experiment).splitlines())
    evaluations = 4 * options.samples * (options.ddim_steps + 2 * 2)
    assert rows["checkpoints"] == "4 of 4 saved ones to analyze"
    assert rows["operations"].startswith(f"about {evaluations:,} network evaluations, ")


def test_a_complete_analysis_costs_nothing(analyzed):
    assert estimate(analyzed("seeds=[0]")).startswith("checkpoints   0 of 4 ")


def test_dry_run_prints_costs_before_the_configuration(with_checkpoints, start, tmp_path):
    (tmp_path / "tiny.yaml").write_text(to_yaml(with_checkpoints("seeds=[0]")), encoding="utf-8")
    output, _ = start("analyze", str(tmp_path / "tiny.yaml"), "--dry-run").communicate(timeout=60)
    assert 0 <= output.find("checkpoints   4 of 4") < output.find("Configuration:")
