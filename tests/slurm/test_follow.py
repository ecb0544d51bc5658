"""launch --follow: checkpoints are analyzed while training goes on, and again where the last one changes them."""

from analyze.analysis import SeedAnalysis
from launch.plan import plan
from launch.slurm import follow, submissions


def test_checkpoints_are_analysed_before_training_has_ended(tmp_path, asked, loaded, launch, monkeypatch):
    monkeypatch.setattr(follow, "SECONDS_BETWEEN_LOOKS", 1.0)
    options = ["seeds=[0]", "train.steps=800", "train.checkpoints.at=[0,10]", "cluster.checkpoints_per_job=2"]
    arguments = asked(tmp_path, *options)
    experiment = loaded(arguments)
    said = launch(*arguments, "--follow")
    tasks = [task for note in submissions.read(experiment) for task in note.tasks if task.name.startswith("early")]
    assert sorted(step for task in tasks for step in task.steps) == [0, 10]
    analysis = SeedAnalysis(experiment, 0)
    generated = analysis.folder / "generations" / "000000010"
    assert min(file.stat().st_mtime for file in generated.iterdir()) < analysis.run.trained(800).stat().st_mtime
    assert plan(experiment) == [] and analysis.results(10)["cka"]["last_step"] == 800
    assert "seed 0" in said and "3/3" in said
