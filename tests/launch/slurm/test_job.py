"""The inside of a SLURM job: the count of restarts without progress, and the port at which processes meet."""

from launch.slurm.job import JobFiles, rendezvous_port


def test_progress_resets_the_restarts(tmp_path):
    files = JobFiles(tmp_path, "17_3")
    files.record_progress(10)
    files.restarts.write_text("ended with status 137\n")
    files.record_progress(10)
    assert files.restarts.exists()
    files.record_progress(20)
    assert not files.restarts.exists()


def test_jobs_of_a_node_meet_at_different_ports():
    """Linux gives ports from 32,768 to outgoing connections; ports below 1,024 belong to the system."""
    ports = [rendezvous_port(job_id) for job_id in range(67_000_000, 67_020_000)]
    assert len(set(ports)) == len(ports)
    assert min(ports) >= 1024 and max(ports) < 32_768
