"""The jobs of a model study: planned slices, and a run on this machine whose numbers are those of one job."""

import dataclasses

import pytest

from analyze import slices
from analyze.model import analyze_model, stored_analyses
from analyze.model_record import recorded_facts
from configs.errors import UserError
from configs.load import load_study
from configs.schema import ModelStudy
from launch.describe import describe
from launch.model_jobs import AnalyzeModel, Generate
from launch.model_study import ModelStudyJobs
from launch.plan import Queued
from launch.slurm import submissions
from launch.slurm.submissions import settings_fingerprint
from launch.slurm.submit import SlurmRun, arrays, job_name, parameters
from launch.status import status
from launch.study import run_study, with_collect_job
from records.atomic import write_text
from records.layout import evaluation_seconds_file, experiment_folder, report_folder, seed_folder

CALLS_T4 = 8 * 4 * 4  # of samples, latents, reconstructions and trajectory


def planned(study: ModelStudy, queued: Queued = Queued()) -> list[tuple[str, tuple[str, ...]]]:  # noqa: B008
    return [(job.name, job.needs) for job in ModelStudyJobs(study).plan(queued)]


def test_a_yaml_file_with_a_source_is_a_model_study(tmp_path, repository):
    (tmp_path / "text.yaml").write_text("source: model\ncluster: {images_per_job: 3}\n")
    loaded = load_study(str(tmp_path / "text.yaml"), ["analyze.samples=4"], "slurm")
    assert isinstance(loaded, ModelStudy) and (loaded.cluster.kind, loaded.cluster.images_per_job) == ("slurm", 3)
    assert not isinstance(load_study(str(repository / "configs" / "digits.yaml")), ModelStudy)


def test_one_job_analyzes_one_t(launched):
    assert planned(launched()) == [("analyze T 2", ()), ("analyze T 4", ())]


def test_a_long_t_is_generated_in_slices(launched):
    """T = 2 takes 10 minutes and T = 4 takes 20."""
    study = launched("cluster.slice_minutes=10")
    write_text(evaluation_seconds_file(study), str(2 * 10 * 60 / CALLS_T4))
    assert planned(study) == [
        ("generate T 4 images 0–3", ()),
        ("generate T 4 images 4–7", ()),
        ("analyze T 2", ()),
        ("analyze T 4", ("generate T 4 images 0–3", "generate T 4 images 4–7")),
    ]
    assert [name for name, _ in planned(launched("cluster.slice_minutes=2.5"))] == [
        *(f"generate T 2 images {i}–{i + 1}" for i in (0, 2, 4, 6)),
        *(f"generate T 4 images {i}–{i}" for i in range(8)),
        "analyze T 2",
        "analyze T 4",
    ]


def test_the_work_is_shared_evenly_by_all_processes(launched):
    """Two processes generate T = 4, which is two thirds of the work."""
    study = launched("cluster.slice_minutes=1000")
    write_text(evaluation_seconds_file(study), str(2 * 100 * 60 / CALLS_T4))
    assert [name for name, _ in planned(study)] == [
        "generate T 4 images 0–3",
        "generate T 4 images 4–7",
        "analyze T 2",
        "analyze T 4",
    ]
    assert len(planned(launched("cluster.slice_minutes=1000", "cluster.max_parallel=1"))) == 2


def test_queued_work_is_not_planned_again(launched):
    study = launched("cluster.images_per_job=3", "sweep=[4]")
    everything = [job.name for job in ModelStudyJobs(study).plan()]
    assert everything == [f"generate T 4 images {part}" for part in ("0–2", "3–5", "6–7")] + ["analyze T 4"]
    one_slice = Queued(frozenset({everything[1]}), slices=frozenset({(4, 3, 6), (2, 0, 3)}))
    assert planned(study, one_slice) == [
        ("generate T 4 images 0–2", ()),
        ("generate T 4 images 6–7", ()),
        ("analyze T 4", (everything[1], everything[0], everything[2])),
    ]
    assert planned(study, Queued(frozenset(everything))) == []


def test_only_missing_images_are_planned(launched):
    study = launched("cluster.images_per_job=3", "sweep=[4]")
    assert Generate(study, 1, 4, 2, 5)() == ""
    assert [name for name, _ in planned(study)] == [
        "generate T 4 images 0–1",
        "generate T 4 images 5–7",
        "analyze T 4",
    ]


def results(study: ModelStudy) -> dict[int, dict]:
    facts = recorded_facts(study)
    analyses = stored_analyses(study, facts)
    return {analysis.options.ddim_steps: analysis.results(analysis.last_step) for analysis in analyses}


@pytest.mark.parametrize("kind", ["debug", "local"])
def test_slices_give_the_numbers_of_one_job(kind, study, capfd):
    """Also if a slice was generated before; a second launch computes nothing."""
    one = study("name=one")
    expected = {each.options.ddim_steps: each.results(each.last_step) for each in analyze_model(one)[1]}
    sliced = study("name=sliced", f"cluster.kind={kind}", "cluster.images_per_job=4")
    ModelStudyJobs(sliced).check(follow=False)
    Generate(sliced, 1, 4, 1, 3)()
    run_study(sliced)
    assert results(sliced) == expected
    files = sorted(path.relative_to(experiment_folder(one)) for path in experiment_folder(one).rglob("*.safetensors"))
    assert len(files) == 8 and not list(experiment_folder(sliced).rglob("slices"))
    for file in files:
        assert (experiment_folder(sliced) / file).read_bytes() == (experiment_folder(one) / file).read_bytes()
    assert f"Report:  {report_folder(sliced) / 'index.html'}" in capfd.readouterr().out
    assert planned(sliced) == []
    assert "     4      8/8           yes" in status(sliced)
    times = {file: (experiment_folder(sliced) / file).stat().st_mtime_ns for file in files}
    run_study(sliced)
    assert times == {file: (experiment_folder(sliced) / file).stat().st_mtime_ns for file in files}


def test_a_failing_t_is_reported_and_the_others_are_analyzed(study, monkeypatch, capfd):
    failing = study("cluster.kind=debug")
    generations = slices.fill

    def fail(*arguments):
        raise UserError("the model's outputs are not finite")

    monkeypatch.setattr(slices, "fill", fail)
    sliced = study("cluster.kind=debug", "cluster.images_per_job=4")
    with pytest.raises(UserError, match=r"^generate T 2 images 0–3: the model's outputs are not finite$"):
        run_study(sliced)
    assert "  T = 2: the model's outputs are not finite" in status(sliced)
    monkeypatch.setattr(slices, "fill", generations)
    run_study(failing)
    assert "failures" not in status(failing) and planned(failing) == []
    capfd.readouterr()


def test_another_model_and_follow_are_rejected_at_the_launch(launched, study, with_checkpoints):
    launched()
    other = seed_folder(with_checkpoints("model.num_classes=4"), 0).checkpoint(5)
    with pytest.raises(UserError, match="contains the analysis of another model"):
        run_study(study(source=other))
    with pytest.raises(UserError, match="--follow analyzes checkpoints during a training"):
        run_study(study(), follow=True)


def test_the_plan_shows_model_costs_and_jobs_and_writes_nothing(study, tmp_path):
    text = describe(study("cluster.images_per_job=4", "name=new"))
    assert "T = 2, 4 DDIM steps" in text and " M parameters; " in text
    assert f"{3 * CALLS_T4 // 2:,} network evaluations" in text and "main memory" in text
    assert "plan: 6 jobs, about " in text
    assert "  analyze T 4   after generate T 4 images 0–3, generate T 4 images 4–7" in text.splitlines()
    assert not (tmp_path / "runs" / "new").exists()


def test_slurm_gets_one_array_of_slices_and_one_gpu_per_job(launched):
    study = launched("cluster.kind=slurm", "cluster.gpus_per_node=4", "cluster.images_per_job=4")
    jobs = with_collect_job(study, ModelStudyJobs(study).plan(), ())
    groups = [[job.name for job in group] for group in arrays(jobs)]
    assert [len(group) for group in groups] == [4, 1, 1, 1] and groups[3] == ["collect"]
    assert [job_name("model", job) for job in (jobs[0], jobs[4], jobs[-1])] == [
        "model-generate",
        "model-analyze",
        "model-collect",
    ]
    resources = [parameters(study.cluster, job.work) for job in (jobs[0], jobs[4], jobs[-1])]
    assert [each.get("gres") for each in resources] == ["gpu:1", "gpu:1", None]
    assert all(each["ntasks_per_node"] == 1 for each in resources)
    run = SlurmRun(study, {job.name: f"7_{i}" for i, job in enumerate(jobs)})
    assert run._dependency(jobs[4]) == "afterok:7_0:7_1" and run._dependency(jobs[-1]) == "afterany:7"
    lines = describe(study).splitlines()
    assert any("images 0–3 … generate T 4 images 4–7: 4 jobs of up to 4 images" in line for line in lines)


def test_submissions_record_t_and_images(launched, tmp_path):
    study = launched("cluster.images_per_job=4", "sweep=[4]")
    jobs = ModelStudyJobs(study).plan()
    submissions.write(study, jobs, ["7_0", "7_1", "7_2"], "model-generate", tmp_path)
    (submission,) = submissions.read(study)
    assert [(task.ddim_steps, task.images) for task in submission.tasks] == [(4, [0, 4]), (4, [4, 8]), (4, [])]
    assert isinstance(jobs[-1].work, AnalyzeModel) and not any(task.trains for task in submission.tasks)
    assert submission.fingerprint == settings_fingerprint(dataclasses.replace(study, sweep=[2], runs="elsewhere"))
    assert submission.fingerprint != settings_fingerprint(dataclasses.replace(study, guidance=2.0))
