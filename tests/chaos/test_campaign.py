"""The campaign of faults: its plan, and a few faults of a real study."""

import random
from collections import Counter

import pytest

from chaos.__main__ import Campaign, chosen_kinds
from chaos.faults import KINDS
from chaos.judgement import FAILED, all_end_well, any_end, different, one_ends_well
from chaos.study import Study


def test_a_campaign_has_all_kinds_in_proportion_to_their_weights():
    kinds = Counter(chosen_kinds(204, 0))
    total = sum(kind.weight for kind in KINDS.values())
    assert kinds.total() == 204 and set(kinds) == set(KINDS)
    assert all(abs(kinds[name] - 204 * kind.weight / total) < 1 for name, kind in KINDS.items())
    assert chosen_kinds(50, 1) == chosen_kinds(50, 1) != chosen_kinds(50, 2)


def test_faults_outside_of_a_study_must_not_end_it():
    requirements = {name: kind.requirement for name, kind in KINDS.items() if kind.requirement is not any_end}
    assert requirements.pop("two launchers") is one_ends_well
    assert set(requirements) == {"clock that jumps", *(name for name, kind in KINDS.items() if kind.with_wandb)}
    assert set(requirements.values()) == {all_end_well}


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
    assert different(study.numbers(), campaign.numbers) == [str(file.relative_to(study.root))]
