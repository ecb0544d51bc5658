"""Every reader accepts damaged and hostile files or rejects them with UserError, within 10 s and 2 GiB.

NOISEMAP_FUZZ_CASES is the number of cases per reader, NOISEMAP_FUZZ_SEED the seed of the random ones.
"""

import os

import pytest
from fuzz import data_readers, model_readers, result_readers, study_readers
from fuzz.sandbox import run_cases

CASES = int(os.environ.get("NOISEMAP_FUZZ_CASES", 10))
SEED = int(os.environ.get("NOISEMAP_FUZZ_SEED", 0))
MODULES = (data_readers, model_readers, study_readers, result_readers)
READERS = [(module.__name__, name) for module in MODULES for name in module.READERS]


@pytest.mark.parametrize(("module", "name"), READERS, ids=[name for _, name in READERS])
def test_reader_accepts_or_rejects(module, name, tmp_path, record_property):
    outcome = run_cases(module, name, tmp_path, CASES, SEED)
    for key, value in {"reader": name, "accepted": outcome.accepted, "rejected": outcome.rejected}.items():
        record_property(key, value)
    if outcome.failure:
        pytest.fail(outcome.failure, pytrace=False)
    assert outcome.accepted + outcome.rejected >= CASES
