"""What SLURM is asked for, by the options of the cluster: without a SLURM (tests/slurm has one)."""

from pathlib import Path

import pytest
import submitit
from submitit.slurm.slurm import _make_sbatch_string

from configs.errors import UserError
from configs.load import load
from configs.schema import Cluster
from launch.jobs import Analyse, Collect, Train
from launch.plan import plan
from launch.slurm import queue
from launch.slurm.submit import SlurmRun, arrays, parameters, setup, teardown
from launch.study import with_collecting

LARGE = Cluster(
    kind="slurm", nodes=2, gpus_per_node=4, gpu_type="a100", gres="nvme:1", cpus_per_task=8, memory_gb=10.5,
    partition="gpu", account="group", qos="high", constraint="fast", exclude="node[1-3]", mail_user="a@b.c",
    mail_type="END", timeout_hours=1.5, train_timeout_hours=48, max_parallel=7, setup=["module load cuda"],
    srun_args=["--container-image=x"], additional_parameters={"reservation": "ours"}, signal_seconds=300,
)  # fmt: skip


@pytest.fixture
def works(tiny):
    experiment = tiny()
    return Train(experiment, 1, 0), Analyse(experiment, 1, 0, (8,)), Collect(experiment, 1)


def script(cluster: Cluster, work) -> list[str]:
    """The lines of the script that sbatch would get."""
    lines = {"setup": setup(cluster, Path("/code")), "teardown": teardown(cluster, Path("/logs"))}
    return _make_sbatch_string("python", "/logs", **parameters(cluster, work), **lines).splitlines()


def test_every_option_reaches_sbatch_and_srun(works):
    lines = script(LARGE, works[0])
    asked = {
        "nodes=2", "ntasks-per-node=4", "gres=gpu:a100:4,nvme:1", "cpus-per-task=8", "mem=43008M", "partition=gpu",
        "account=group", "qos=high", "constraint=fast", "exclude='node[1-3]'", "mail-user=a@b.c", "mail-type=END",
        "time=2880", "reservation=ours", "signal=USR2@300", "requeue", "kill-on-invalid-dep=yes",
    }  # fmt: skip
    assert {f"#SBATCH --{one}" for one in asked} <= set(lines)
    (srun,) = [line for line in lines if line.startswith("srun")]
    assert all(one in srun for one in ("--container-image=x", "--cpus-per-task=8", "--kill-on-bad-exit=1"))
    assert lines.index("module load cuda") < lines.index("export PYTHONPATH='/code'") < lines.index(srun)


def test_analysis_takes_a_gpu_and_collecting_none(works):
    _, analyse, collect = (set(script(LARGE, work)) for work in works)
    for lines in (analyse, collect):
        assert {"#SBATCH --nodes=1", "#SBATCH --ntasks-per-node=1", "#SBATCH --time=90"} <= lines
    assert "#SBATCH --gres=gpu:a100:1,nvme:1" in analyse and "#SBATCH --gres=nvme:1" in collect


def test_without_gpus_there_is_one_process_and_nothing_is_asked_for(works):
    lines = script(Cluster(kind="slurm"), works[0])
    assert "#SBATCH --ntasks-per-node=1" in lines
    assert not [line for line in lines if "gres" in line or "--mem" in line or "partition" in line]
    assert "#SBATCH --ntasks-per-node=3" in script(Cluster(kind="slurm", processes_per_node=3), works[0])


def test_a_study_is_three_submissions_a_seed_and_one(tiny):
    experiment = tiny("cluster.kind=slurm", "cluster.checkpoints_per_job=1")
    groups = list(arrays(with_collecting(experiment, plan(experiment), ())))
    assert [len(group) for group in groups] == [1, 1, 3, 1, 1, 3, 1]
    assert len(groups[-1][0].needs) == 10


def test_jobs_wait_for_those_that_they_need(tiny):
    experiment = tiny("cluster.checkpoints_per_job=1", "seeds=[0]")
    train, last, *slices, collecting = with_collecting(experiment, plan(experiment), ())
    run = SlurmRun(experiment, {train.name: "1", last.name: "2"} | {job.name: f"3_{i}" for i, job in enumerate(slices)})
    told = [run._dependency(job) for job in (train, last, slices[1], collecting)]
    assert told == [None, "afterok:1", "afterok:2", "afterany:1:2:3"]


def test_where_there_is_no_slurm_it_is_said(tiny, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="sbatch is not found: this machine is no part of a SLURM cluster"):
        SlurmRun(tiny(), {}).submit([])
    with pytest.raises(UserError, match="squeue is not found"):
        queue.entries(["any"])


def test_the_profiles_can_be_read_and_misspelt_ones_are_refused(repository, tmp_path):
    config = repository / "configs" / "cifar10.yaml"
    assert [load(config, [], name).cluster.kind for name in ("local", "debug", "slurm")] == ["local", "debug", "slurm"]
    own = tmp_path / "mine.yaml"
    own.write_text("kind: slurm\npartition: gpu\n")
    assert load(config, ["cluster.partition=other"], str(own)).cluster.partition == "other"
    with pytest.raises(UserError, match=r"slurn.yaml: no such file; there are .*debug.yaml, .*slurm.yaml"):
        load(config, [], "slurn")
    own.write_text("partitoin: gpu\n")
    with pytest.raises(
        UserError, match=r'mine.yaml: unknown key "cluster.partitoin"; did you mean "cluster.partition"'
    ):
        load(config, [], str(own))
    own.write_text("queue: gpu\n")
    with pytest.raises(UserError, match=r'"cluster.queue"; cluster has kind, max_parallel, .*, partition, '):
        load(config, [], str(own))


def test_submitit_knows_what_it_is_told(works, tmp_path, monkeypatch):
    """It refuses parameters that it does not know, which an update of it may bring."""
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda _: 1))
    for work in works:
        submitit.SlurmExecutor(tmp_path).update_parameters(**parameters(LARGE, work), job_name="any", teardown=[])
