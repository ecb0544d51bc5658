"""The campaign of faults: its plan, how it follows messages, and a few faults of a real study."""

import random
from collections import Counter

import pytest

from chaos.__main__ import FAILED, Campaign, Outcome, chosen_kinds, follow
from chaos.faults import KINDS
from chaos.study import Result, Study


def test_a_campaign_has_all_kinds_in_proportion_to_their_weights():
    kinds = Counter(chosen_kinds(204, 0))
    total = sum(weight for _, weight in KINDS.values())
    assert kinds.total() == 204 and set(kinds) == set(KINDS)
    assert all(abs(kinds[name] - 204 * weight / total) < 1 for name, (_, weight) in KINDS.items())
    assert chosen_kinds(50, 1) == chosen_kinds(50, 1) != chosen_kinds(50, 2)


def test_only_what_a_message_tells_to_remove_is_removed(tmp_path):
    study = Study(tmp_path).create()
    damaged, other = study.root / "seed_0" / "state", study.root / "seed_1"
    damaged.mkdir(parents=True)
    other.mkdir()
    outcome = Outcome(0, "flipped bit")
    assert not follow(study, Result(2, f"error: {damaged}: it is damaged"), outcome)
    assert not follow(study, Result(2, "error: /etc/passwd: it is damaged; remove it"), outcome)
    assert damaged.exists()
    assert follow(study, Result(2, f"error: {damaged}: no saved state can be read; remove the folder"), outcome)
    assert not damaged.exists() and other.exists() and len(outcome.messages) == 1


@pytest.fixture(scope="module")
def campaign(tmp_path_factory) -> Campaign:
    return Campaign(tmp_path_factory.mktemp("campaign"), seed=0)


def test_a_study_survives_a_fault(campaign):
    outcome = campaign.run(0, "SIGKILL of everything")
    assert outcome.end != FAILED, outcome


def test_a_changed_value_is_noticed(campaign):
    """The campaign would otherwise always succeed."""
    study = Study(campaign.folder / "changed").create(campaign.whole)
    study.copy_results(campaign.whole)
    (file,) = study.root.glob("seed_0/checkpoints/000000020/ema_0.99.safetensors")
    content = bytearray(file.read_bytes())
    content[-1 - random.Random(0).randrange(100)] ^= 1
    file.write_bytes(content)
    assert campaign.differing(study) == [str(file.relative_to(study.root))]
