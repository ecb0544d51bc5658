"""The simulated cluster, where the time follows from arithmetic."""

import pytest

from benchmarks.scaling import START_S, Cluster, Costs, Disk, costs, simulate, study
from launch.plan import plan

CHECKPOINTS, SEEDS = 1128, 3
COST = Costs(read_bytes=0, compute_s=100, write_bytes=0)


def test_one_gpu_does_everything_in_sequence():
    jobs = [job for job in plan(study(2048, 1)) if job.work.kind != "train"]
    seconds = Cluster(jobs, COST, 1, 1, Disk(1.0)).run()
    assert seconds == pytest.approx(len(jobs) * START_S + CHECKPOINTS * COST.seconds)


def test_more_gpus_than_checkpoints_wait_for_the_last_one_only():
    jobs = [job for job in plan(study(2048, 2000)) if job.work.kind != "train"]
    assert len(jobs) == CHECKPOINTS
    seconds = Cluster(jobs, COST, 2000, 2000, Disk(1.0)).run()
    assert seconds == pytest.approx(2 * (START_S + COST.seconds))


def test_concurrent_transfers_share_the_bandwidth():
    """All other checkpoints of the three seeds read at the same time."""
    jobs = [job for job in plan(study(2048, 2000)) if job.work.kind != "train"]
    seconds = Cluster(jobs, Costs(5.0, 100, 0), 2000, 2000, Disk(10.0)).run()
    assert seconds == pytest.approx(2 * (START_S + COST.seconds) + (SEEDS + CHECKPOINTS - SEEDS) * 5.0 / 10.0)


def test_time_falls_and_efficiency_falls_with_the_number_of_gpus():
    outcomes = [simulate(study(2048, gpus), gpus, 1e14, 5e9) for gpus in (1, 30, 1000)]
    assert [item.hours for item in outcomes] == sorted((item.hours for item in outcomes), reverse=True)
    assert [item.efficiency for item in outcomes] == sorted((item.efficiency for item in outcomes), reverse=True)
    assert all(0 < item.efficiency < 1 for item in outcomes)


def test_costs_grow_with_the_square_of_the_images_in_the_end():
    few, many = (costs(study(images, 1), 1e18).compute_s for images in (100_000, 200_000))
    assert 3.5 < many / few < 4
