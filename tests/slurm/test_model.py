"""The study of a tiny Stable Diffusion on SLURM: killed, requeued, canceled and launched again."""

import os
import re
import signal

from submitit.core.utils import JobPaths
from tiny_pipelines import tiny_pipeline

from analyze.model import analyze_model, stored_analyses
from analyze.model_record import recorded_facts
from configs.load import load_model_study, load_study
from configs.schema import ModelStudy
from launch.model_study import ModelStudyJobs
from launch.slurm import queue, submissions
from records.layout import experiment_folder, report_folder

STUDY = """
source: {folder}
prompts: [a cat, two dogs, rain]
guidance: 3
sweep: [20]
analyze:
  samples: 8
  batch_size: 1
  precision: fp32
  pictures: 3
  measures: {{knn_k: 2, inversion_checkpoints: none}}
wandb: {{mode: disabled}}
cluster: {{kind: slurm, images_per_job: 4, cpus_per_task: 1, max_parallel: 2}}
"""
HOLD = "cluster.additional_parameters={hold: true}"
SLICES = ["generate T 20 images 0–3", "generate T 20 images 4–7"]


def results(study: ModelStudy) -> dict:
    (analysis,) = stored_analyses(study, recorded_facts(study))
    return analysis.results(20)


def test_an_interrupted_study_ends_with_the_numbers_of_one_process(tmp_path, launch, wait_until, wait_for_end, pid_of):
    tiny_pipeline("stable_diffusion").save_pretrained(tmp_path / "tiny")
    config = tmp_path / "text.yaml"
    config.write_text(STUDY.format(folder=tmp_path / "tiny"))
    arguments = [str(config), f"runs={tmp_path}/runs"]
    one = load_model_study(str(config), [*arguments[1:], "name=one"])
    ((_, (expected,)), study) = analyze_model(one), load_study(*arguments[:1], arguments[1:])

    assert launch(*arguments, HOLD).count("submitted ") == 3
    assert "nothing to submit: 4 jobs of this study are in the queue" in launch(*arguments)
    assert "2 jobs: 2 pending" in launch("status", *arguments)
    assert re.fullmatch(r"canceled: \d+, \d+, \d+; .*\n", launch("cancel", *arguments))
    wait_for_end(study)

    assert launch(*arguments).count("submitted ") == 3
    newest = list(submissions.read(study))[-3:]
    ids = {task.name: task.id for submission in newest for task in submission.tasks}
    assert list(ids) == [*SLICES, "analyze T 20", "collect"]
    wait_until(lambda: list(experiment_folder(study).rglob("slices/samples-000000000-*")), pause_s=0.05)
    os.kill(pid_of(ids[SLICES[0]]), signal.SIGKILL)
    wait_until(lambda: list(experiment_folder(study).rglob("slices/samples-000000004-*")), pause_s=0.05)
    queue.call("scancel", "--signal=USR2", ids[SLICES[1]])
    wait_for_end(study)
    for name in SLICES:
        assert "; requeued" in JobPaths(newest[0].logs, ids[name]).stdout.read_text()

    status = launch("status", *arguments)
    assert "2 jobs: 2 done" in status and re.search(r"\n +20 +8/8 +yes", status) and "pending" not in status
    assert results(study) == expected.results(20)
    for file in experiment_folder(one).rglob("*.safetensors"):
        assert (experiment_folder(study) / file.relative_to(experiment_folder(one))).read_bytes() == file.read_bytes()
    assert not list(experiment_folder(study).rglob("slices")) and ModelStudyJobs(study).plan() == []
    assert "“a cat”" in (report_folder(study) / "index.html").read_text()
    assert "nothing to submit: everything is analyzed" in launch(*arguments)
