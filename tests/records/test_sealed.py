"""JSON files whose changes are noticed."""

import json

import pytest

from records.sealed import is_number, read_sealed, write_sealed


@pytest.fixture
def file(tmp_path):
    write_sealed(tmp_path / "a.json", {"é": [1, 2.5, float("nan"), None, True], "steps": {10: "x̂_T", 9: {}}})
    return tmp_path / "a.json"


def test_content_is_read_without_its_digest(file):
    content = read_sealed(file)
    assert content.keys() == {"é", "steps"} and content["steps"] == {"10": "x̂_T", "9": {}}


def test_layout_may_change_and_content_may_not(file):
    stored = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(dict(reversed(stored.items())), indent=4), encoding="utf-8")
    read_sealed(file)
    file.write_text(json.dumps(stored | {"é": [1, 2.6, float("nan"), None, True]}), encoding="utf-8")
    with pytest.raises(ValueError, match="its digest does not match its content"):
        read_sealed(file)


def test_files_without_a_digest_are_accepted(tmp_path):
    (tmp_path / "old.json").write_text('{"step": 5}', encoding="utf-8")
    assert read_sealed(tmp_path / "old.json") == {"step": 5}


@pytest.mark.parametrize(("value", "expected"), [(1, True), (0.5, True), (True, False), (2**63, False), ("1", False)])
def test_numbers_fit_into_64_bits(value, expected):
    assert is_number(value) is expected
