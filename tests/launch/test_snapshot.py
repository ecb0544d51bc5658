"""The copy of the code that jobs run."""

import os
import subprocess
import sys

from launch.snapshot import HERE, environment, snapshot
from records import provenance


def test_the_snapshot_is_complete_and_created_once(tiny):
    experiment = tiny()
    folder = snapshot(experiment)
    inode = folder.stat().st_ino
    assert snapshot(experiment) == folder and folder.stat().st_ino == inode
    files = ("launch/snapshot.py", "analyze/report/published.json", "analyze/report/page/page.html.j2")
    for name in (*files, "launch/slurm/requeue.sh", "configs/digits.yaml"):
        assert (folder / name).read_bytes() == (HERE / name).read_bytes()
    assert not list(folder.rglob("__pycache__"))


def test_processes_import_the_snapshot_from_any_directory(tiny, repository):
    """Even from the repository, which contains the installed code."""
    folder = snapshot(tiny())
    program = "import launch.jobs, records.provenance; print(launch.jobs.__file__, records.provenance.commit())"
    command = [sys.executable, "-c", program]
    variables = os.environ | environment(folder)
    output = subprocess.run(command, cwd=repository, env=variables, capture_output=True, text=True, check=True).stdout
    assert output.split() == [str(folder / "launch" / "jobs.py"), provenance.commit()]
