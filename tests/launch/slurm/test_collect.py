"""The job that writes the report, on a cluster that runs no jobs."""

import pytest

from configs.errors import UserError
from launch.slurm import follow
from launch.slurm.submit import SlurmRun, queued
from launch.study import run_study
from records.layout import seed_folder


@pytest.fixture
def study(tiny, slurm):
    """A study in the queue, without its last job."""
    experiment = tiny("cluster.kind=slurm", "seeds=[0]")
    run_study(experiment)
    slurm.remove("digits-collect")
    return experiment


def test_a_lost_last_job_is_submitted_again(study, slurm, capsys):
    """Its submission may have failed after those of the others, or it may have been canceled."""
    before = slurm.jobs()
    run_study(study)
    added = [name for job, name in slurm.jobs() if (job, name) not in before]
    assert len(before) == 3 and added == ["digits-collect"] and "collect" in capsys.readouterr().out.splitlines()[-2]


def test_a_rerun_submits_nothing_that_is_in_the_queue(study, slurm, capsys):
    run_study(study)
    before = slurm.jobs()
    run_study(study)
    assert slurm.jobs() == before
    assert "nothing to submit: 4 jobs of this study are in the queue" in capsys.readouterr().out


def test_a_refused_last_job_does_not_prevent_following(study, slurm, capsys, monkeypatch):
    """A partition may reject jobs without a GPU."""
    followed = []
    monkeypatch.setattr(follow, "follow_study", followed.append)
    slurm.fail("sbatch", 1)
    run_study(study, follow=True)
    assert followed == [study]
    warning = "warning: sbatch refuses collect: no answer; run  python -m analyze CONFIG  when the jobs are done\n"
    assert capsys.readouterr().err.endswith(warning)


def test_a_refused_last_job_is_an_error_if_others_were_submitted(tiny, slurm):
    experiment = tiny("cluster.kind=slurm", "seeds=[0]")
    sbatch = slurm.folder / "bin" / "sbatch"
    sbatch.write_text(sbatch.read_text().replace("echo >>", 'grep -q collect "$1" && exit 1\necho >>'))
    with pytest.raises(UserError, match="sbatch refuses collect"):
        run_study(experiment)


def test_a_last_job_of_fewer_seeds_is_not_enough(tiny, slurm):
    """It ends before the jobs of the added seed, whose own last job was refused."""
    run_study(tiny("cluster.kind=slurm", "seeds=[0]"))
    experiment = tiny("cluster.kind=slurm", "seeds=[0,1]")
    run_study(experiment)
    lines = slurm.queue.read_text().splitlines(keepends=True)
    assert "digits-collect" in lines[-1]
    slurm.queue.write_text("".join(lines[:-1]))
    before = slurm.jobs()
    run_study(experiment)
    assert [name for job, name in slurm.jobs() if (job, name) not in before] == ["digits-collect"]


def test_early_analyses_need_no_other_last_job(with_checkpoints, slurm, capsys):
    experiment = with_checkpoints("cluster.kind=slurm", "seeds=[0]")
    seed_folder(experiment, 0).trained(experiment.train.steps).unlink()  # training continues
    run_study(experiment)
    follow.submit_early_jobs(experiment, SlurmRun(experiment, {}))
    before = slurm.jobs()
    run_study(experiment)
    assert slurm.jobs() == before and "nothing to submit" in capsys.readouterr().out


def test_a_last_job_waits_for_jobs_of_its_own_settings(tiny, slurm):
    """Those of other settings may have the same names, and be submitted later."""
    experiment = tiny("cluster.kind=slurm", "seeds=[0]")
    run_study(experiment)
    _, before = queued(experiment)
    run_study(tiny("cluster.kind=slurm", "seeds=[0]", "analyze.weights=model"))
    _, after = queued(experiment)
    assert len(slurm.jobs()) > len(before) and before.items() <= after.items()
