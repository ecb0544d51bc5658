"""Damage of files: which ones it can meet."""

import random

from chaos.damage import damaged, delete, files_by_kind, flip_bit
from chaos.study import Study

FILES = {
    **{f"runs/chaos/seed_{seed}/state/0000000{step}/state.pt": b"state" for seed in (0, 1) for step in (58, 60)},
    "runs/chaos/seed_0/trained_000000060": b"",
    "runs/chaos/jobs/code/1f/models/unet.py": b"code",
    "runs/chaos/jobs/train/1_log.out": b"log",
    "runs/chaos/report/index.html": b"page",
    "data/digits_8/images.npy": b"pixels",
}


def study_of_files(folder) -> Study:
    study = Study(folder)
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return study


def test_every_kind_of_file_is_damaged_as_often_as_others(tmp_path):
    kinds = files_by_kind(study_of_files(tmp_path), with_empty=True)
    assert {name: len(files) for name, files in kinds.items()} == {
        "data/digits_N/images.npy": 1,
        "runs/chaos/jobs": 2,
        "runs/chaos/report": 1,
        "runs/chaos/seed_N/state/N/state.pt": 4,
        "runs/chaos/seed_N/trained_N": 1,
    }


def test_empty_files_can_only_be_deleted(tmp_path):
    study = study_of_files(tmp_path)
    assert "runs/chaos/seed_N/trained_N" not in files_by_kind(study, with_empty=False)
    details = {damaged(delete)(study_of_files(tmp_path), random.Random(i), 1.0)[0] for i in range(40)}
    assert "deleted runs/chaos/seed_0/trained_000000060" in details


def test_a_flipped_bit_changes_one_file(tmp_path):
    study = study_of_files(tmp_path)
    detail, results = damaged(flip_bit)(study, random.Random(0), 1.0)
    changed = [name for name, content in FILES.items() if (tmp_path / name).read_bytes() != content]
    assert len(changed) == 1 and detail.endswith(changed[0]) and results == []
