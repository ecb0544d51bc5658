"""The code that jobs run is that of the moment they were launched at."""

import os
import subprocess
import sys

from launch.snapshot import HERE, environment, snapshot
from records import provenance


def test_the_copy_is_whole_and_made_once(tiny):
    experiment = tiny()
    folder = snapshot(experiment)
    made = folder.stat().st_ino
    assert snapshot(experiment) == folder and folder.stat().st_ino == made
    for name in ("launch/snapshot.py", "analyze/published.json", "analyze/page/page.html.j2", "configs/digits.yaml"):
        assert (folder / name).read_bytes() == (HERE / name).read_bytes()
    assert not list(folder.rglob("__pycache__"))


def test_processes_run_it_wherever_they_are_started(tiny, repository):
    """In the repository too, where other code lies and is installed from."""
    folder = snapshot(tiny())
    program = "import launch.jobs, records.provenance; print(launch.jobs.__file__, records.provenance.commit())"
    command = [sys.executable, "-c", program]
    told = os.environ | environment(folder)
    said = subprocess.run(command, cwd=repository, env=told, capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(folder / "launch" / "jobs.py"), provenance.commit()]
