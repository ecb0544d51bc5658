"""Notes of what SLURM was given."""

import dataclasses

from launch.slurm import submissions
from launch.slurm.submissions import Submission
from records.atomic import write_json
from records.layout import submissions_folder


def test_submissions_of_one_second_are_in_the_order_of_their_numbers(tiny):
    experiment, time = tiny(), "2026-11-22T14:06:08"
    for number in ("100", "9", "99", "10"):
        note = Submission(number, "name", time, "logs", "way", [])
        write_json(submissions_folder(experiment) / f"{time}-{number}.json", dataclasses.asdict(note))
    earlier = dataclasses.replace(note, id="200", time="2026-11-22T14:06:07")
    write_json(submissions_folder(experiment) / f"{earlier.time}-200.json", dataclasses.asdict(earlier))
    assert [note.id for note in submissions.read(experiment)] == ["200", "9", "10", "99", "100"]
