"""Batch scripts and dependencies for the options of the cluster, without SLURM (tests/slurm runs one)."""

import os
from pathlib import Path

import pytest
import submitit
from submitit.slurm.slurm import _make_sbatch_string

from configs.errors import UserError
from configs.load import load
from configs.schema import Cluster
from launch.jobs import Analyze, CollectExperiment, Train
from launch.plan import Job, plan
from launch.slurm import queue
from launch.slurm.submit import SlurmRun, arrays, parameters, setup, teardown
from launch.study import with_collect_job

LARGE = Cluster(
    kind="slurm", nodes=2, gpus_per_node=4, gpu_type="a100", gres="nvme:1", cpus_per_task=8, memory_gb=10.5,
    partition="gpu", account="group", qos="high", constraint="fast", exclude="node[1-3]", mail_user="a@b.c",
    mail_type="END", timeout_hours=1.5, train_timeout_hours=48, max_parallel=7, setup=["module load cuda"],
    srun_args=["--container-image=x"], additional_parameters={"reservation": "ours"}, signal_seconds=300,
)  # fmt: skip


@pytest.fixture
def works(tiny):
    experiment = tiny()
    return Train(experiment, 1, 0), Analyze(experiment, 1, 0, (8,)), CollectExperiment(experiment, 1)


def script(cluster: Cluster, work) -> list[str]:
    """Return the lines of the batch script."""
    lines = {"setup": setup(cluster, Path("/code"), Path("/the logs")), "teardown": teardown(Path("/code"))}
    return _make_sbatch_string("python", "/logs", **parameters(cluster, work), **lines).splitlines()


def test_every_option_reaches_sbatch_and_srun(works):
    lines = script(LARGE, works[0])
    options = {
        "nodes=2", "ntasks-per-node=4", "gres=gpu:a100:4,nvme:1", "cpus-per-task=8", "mem=43008M", "partition=gpu",
        "account=group", "qos=high", "constraint=fast", "exclude='node[1-3]'", "mail-user=a@b.c", "mail-type=END",
        "time=2880", "reservation=ours", "signal=USR2@300", "requeue", "kill-on-invalid-dep=yes",
    }  # fmt: skip
    assert {f"#SBATCH --{option}" for option in options} <= set(lines)
    (srun,) = [line for line in lines if line.startswith("srun")]
    for argument in ("--container-image=x", "--cpus-per-task=8", "--kill-on-bad-exit=1"):
        assert argument in srun
    assert lines.index("module load cuda") < lines.index("export PYTHONPATH=/code") < lines.index(srun)
    assert lines.index("export NOISEMAP_JOB_FOLDER='/the logs'") < lines.index(srun)
    assert lines[-1] == "source /code/launch/slurm/requeue.sh"


def test_analysis_uses_one_gpu_and_collecting_none(works):
    _, analyze, collect = (set(script(LARGE, work)) for work in works)
    for lines in (analyze, collect):
        assert {"#SBATCH --nodes=1", "#SBATCH --ntasks-per-node=1", "#SBATCH --time=90"} <= lines
    assert "#SBATCH --gres=gpu:a100:1,nvme:1" in analyze and "#SBATCH --gres=nvme:1" in collect


def test_without_gpus_a_job_is_one_process_without_special_resources(works):
    lines = script(Cluster(kind="slurm"), works[0])
    assert "#SBATCH --ntasks-per-node=1" in lines
    assert not [line for line in lines if "gres" in line or "--mem" in line or "partition" in line]
    assert "#SBATCH --ntasks-per-node=3" in script(Cluster(kind="slurm", processes_per_node=3), works[0])


def test_a_study_is_three_submissions_per_seed_and_one_to_collect(tiny):
    experiment = tiny("cluster.kind=slurm", "cluster.checkpoints_per_job=1")
    groups = list(arrays(with_collect_job(experiment, plan(experiment), ())))
    assert [len(group) for group in groups] == [1, 1, 3, 1, 1, 3, 1]
    assert len(groups[-1][0].needs) == 10


def test_an_array_has_at_most_1000_jobs(tiny):
    """SLURM refuses larger ones, unless MaxArraySize is changed."""
    experiment = tiny("cluster.kind=slurm")
    jobs = [Job(f"analyze step {step}", Analyze(experiment, 1, 0, (step,))) for step in range(2_001)]
    groups = list(arrays(jobs))
    assert [len(group) for group in groups] == [1_000, 1_000, 1] and [job for group in groups for job in group] == jobs


def test_dependencies_use_the_ids_of_the_needed_jobs(tiny):
    experiment = tiny("cluster.checkpoints_per_job=1", "seeds=[0]")
    train, last, *slices, collect = with_collect_job(experiment, plan(experiment), ())
    run = SlurmRun(experiment, {train.name: "1", last.name: "2"} | {job.name: f"3_{i}" for i, job in enumerate(slices)})
    dependencies = [run._dependency(job) for job in (train, last, slices[1], collect)]
    assert dependencies == [None, "afterok:1", "afterok:2", "afterany:1:2:3"]


def test_without_slurm_the_error_says_so(tiny, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="sbatch not found: this machine is not part of a SLURM cluster"):
        SlurmRun(tiny(), {}).submit([])
    with pytest.raises(UserError, match="squeue not found"):
        queue.entries(["any"])


def test_cluster_profiles_load_and_misspelled_ones_are_refused(repository, tmp_path):
    config = repository / "configs" / "cifar10.yaml"
    assert [load(config, [], name).cluster.kind for name in ("local", "debug", "slurm")] == ["local", "debug", "slurm"]
    profile = tmp_path / "mine.yaml"
    profile.write_text("kind: slurm\npartition: gpu\n")
    assert load(config, ["cluster.partition=other"], str(profile)).cluster.partition == "other"
    with pytest.raises(UserError, match=r"slurn.yaml: no such file; available: .*debug.yaml, .*slurm.yaml"):
        load(config, [], "slurn")
    profile.write_text("partitoin: gpu\n")
    with pytest.raises(
        UserError, match=r'mine.yaml: unknown key "cluster.partitoin"; did you mean "cluster.partition"'
    ):
        load(config, [], str(profile))
    profile.write_text("queue: gpu\n")
    with pytest.raises(
        UserError, match=r'"cluster.queue"; the options of cluster are kind, max_parallel, .*, partition, '
    ):
        load(config, [], str(profile))


def test_submitit_accepts_all_parameters(works, tmp_path, monkeypatch):
    """An update of submitit may rename parameters, and it refuses unknown ones."""
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda _: 1))
    for work in works:
        submitit.SlurmExecutor(tmp_path).update_parameters(**parameters(LARGE, work), job_name="any", teardown=[])


def test_jobs_inherit_nothing_from_the_allocation_of_the_launcher(tiny, slurm, monkeypatch):
    """SLURM_NTASKS and others would change what srun starts in them."""
    variables = {
        "SLURM_JOB_ID": "17",
        "SLURM_NTASKS": "3",
        "SLURM_CONF": "/etc/slurm.conf",
        "SUBMITIT_EXECUTOR": "slurm",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    experiment = tiny("cluster.kind=slurm", "seeds=[0]")
    SlurmRun(experiment, {}).submit(plan(experiment)[:1])
    seen = {name for name in variables if f"{name}={variables[name]}\n" in slurm.submission_environment()}
    assert seen == {"SLURM_CONF"} and {name: os.environ[name] for name in variables} == variables


def test_sbatch_reads_the_variables_that_a_user_has_set(tiny, slurm, monkeypatch):
    """Outside of an allocation, they are meant for the commands of SLURM."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("SLURM_CLUSTERS", "second")
    experiment = tiny("cluster.kind=slurm", "seeds=[0]")
    SlurmRun(experiment, {}).submit(plan(experiment)[:1])
    assert "SLURM_CLUSTERS=second\n" in slurm.submission_environment()
