"""Records of submissions to SLURM."""

import dataclasses

import pytest

from configs.errors import UserError
from launch.jobs import Analyze
from launch.slurm import submissions
from launch.slurm.submissions import Submission
from records.atomic import write_json
from records.layout import submissions_folder


def test_submissions_of_one_second_are_ordered_by_id(tiny):
    experiment, time = tiny(), "2026-11-22T14:06:08"
    for number in ("100", "9", "99", "10"):
        submission = Submission(number, "name", time, "logs", "fingerprint", [])
        write_json(submissions_folder(experiment) / f"{time}-{number}.json", dataclasses.asdict(submission))
    earlier = dataclasses.replace(submission, id="200", time="2026-11-22T14:06:07")
    write_json(submissions_folder(experiment) / f"{earlier.time}-200.json", dataclasses.asdict(earlier))
    assert [submission.id for submission in submissions.read(experiment)] == ["200", "9", "10", "99", "100"]


def test_submissions_of_earlier_versions_are_read(tiny):
    """Their jobs may still be in the queue."""
    experiment = tiny()
    task = {"id": "17", "name": f"{Analyze.kind} seed 0 step 8", "seed": 0, "steps": [8]}
    content = {"id": "17", "job_name": "tiny", "time": "2026-11-22T14:06:08", "logs": "/logs", "way": "1f0c2b7a"}
    write_json(submissions_folder(experiment) / "2026-11-22T14:06:08-17.json", {**content, "tasks": [task]})
    (submission,) = submissions.read(experiment)
    assert submission.fingerprint == "1f0c2b7a"
    assert [task.name for task in submission.tasks] == ["analyze seed 0 step 8"]


@pytest.mark.parametrize("content", ["", "[]", '{"tasks": 3}', '{"id": "17", "tasks": []}', '{"id"'])
def test_a_damaged_record_names_its_file(content, tiny):
    file = submissions_folder(tiny()) / "2026-11-22T14:06:08-17.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(UserError, match=r"08-17\.json: the record of submitted jobs is damaged .* remove the file"):
        list(submissions.read(tiny()))
