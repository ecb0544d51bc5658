"""`launch --follow`: checkpoints are analyzed during training, and compared again with the last one."""

from analyze.analysis import SeedAnalysis
from launch.plan import plan
from launch.slurm import follow, submissions


def test_checkpoints_are_analyzed_before_training_ends(tmp_path, slurm_arguments, load_arguments, launch, monkeypatch):
    monkeypatch.setattr(follow, "POLL_INTERVAL_S", 1.0)
    options = ["seeds=[0]", "train.steps=800", "train.checkpoints.at=[0,10]", "cluster.checkpoints_per_job=2"]
    arguments = slurm_arguments(tmp_path, *options)
    experiment = load_arguments(arguments)
    output = launch(*arguments, "--follow")
    tasks = [
        task
        for submission in submissions.read(experiment)
        for task in submission.tasks
        if task.name.startswith("early")
    ]
    assert sorted(step for task in tasks for step in task.steps) == [0, 10]
    analysis = SeedAnalysis(experiment, 0)
    generations = analysis.generations_folder / "000000010"
    assert min(file.stat().st_mtime for file in generations.iterdir()) < analysis.run.trained(800).stat().st_mtime
    assert plan(experiment) == [] and analysis.results(10)["cka"]["last_step"] == 800
    assert "seed 0" in output and "3/3" in output
