"""The judgement of a fault: ends of commands, remedies, and changed numbers."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from chaos.__main__ import report
from chaos.judgement import (
    FAILED,
    REMADE,
    REMEDIED,
    UNAIDED,
    Outcome,
    all_end_well,
    any_end,
    follow,
    judge,
    mentions,
    one_ends_well,
)
from chaos.study import TIMEOUT_S, Command, Result, Study, finish

WELL, SENTENCE = Result(0, "done"), Result(2, "training: 10 %\nerror: it is busy; wait")
CHATTY, KILLED, HUNG = Result(2, "error: it is busy\nerror: wait"), Result(-15, "error: it is busy"), Result(None, "")
CHECKPOINT = "seed_0/checkpoints/000000020/ema_0.99.safetensors"


@dataclass(frozen=True)
class ScriptedStudy(Study):
    """A study whose commands end as scripted."""

    ends: list[Result] = field(default_factory=list)

    def launch(self, *command: str) -> Result:
        return self.ends.pop(0)

    def numbers(self) -> dict[str, str]:
        return {CHECKPOINT: "changed"}


def judged(
    folder: Path, ends: list[Result], met_fault: list[Result], requirement=any_end, weights="changed"
) -> Outcome:
    outcome = Outcome(0, "SIGTERM")
    judge(ScriptedStudy(folder, ends=ends), requirement, outcome, met_fault, {CHECKPOINT: weights})
    return outcome


def test_a_command_that_fails_on_a_fault_is_repaired(tmp_path):
    assert judged(tmp_path, [WELL], [KILLED]).end == UNAIDED
    assert judged(tmp_path, [SENTENCE], [KILLED]).end == FAILED
    assert judged(tmp_path, [WELL], [HUNG]).messages == [f"hung for {TIMEOUT_S:.0f} s"]
    assert judged(tmp_path, [WELL], [Result(1, "Traceback (most recent call last):")]).messages == ["traceback"]


def test_a_fault_that_must_not_stop_a_study_is_judged_by_the_command_that_met_it(tmp_path):
    outcome = judged(tmp_path, [WELL], [SENTENCE], all_end_well)
    assert outcome.end == FAILED and "it is busy" in outcome.messages[0]
    assert judged(tmp_path, [WELL], [WELL], all_end_well).end == UNAIDED


@pytest.mark.parametrize("other", [CHATTY, KILLED])
def test_of_two_launchers_one_ends_well_and_the_other_with_one_sentence(other):
    assert one_ends_well([WELL, WELL]) == one_ends_well([SENTENCE, WELL]) == []
    assert one_ends_well([other, WELL])
    assert len(one_ends_well([SENTENCE, SENTENCE])) == 2


def test_changed_weights_must_be_named(tmp_path):
    named = Result(2, f"error: damaged: {tmp_path}/runs/chaos/{Path(CHECKPOINT).parent}: its digest differs")
    assert judged(tmp_path, [WELL, named], [], weights="original").end == REMEDIED
    outcome = judged(tmp_path, [WELL, WELL], [], weights="original")
    assert outcome.end == FAILED and f"other numbers, unnoticed: {CHECKPOINT}" in outcome.messages


def test_only_a_file_or_its_own_folder_excuses_a_difference():
    root = "/tmp/runs/chaos"
    assert mentions(f"{root}/{CHECKPOINT}: its digest differs", CHECKPOINT)
    assert mentions(f"{root}/seed_0/checkpoints/000000020: damaged", CHECKPOINT)
    assert not mentions(f"{root}/seed_0/checkpoints: damaged", CHECKPOINT)
    assert not mentions(f"{root}/seed_0/checkpoints/000000020/model.safetensors: damaged", CHECKPOINT)
    assert not mentions(f"{root}/seed_0/checkpoints/0000000200: damaged", CHECKPOINT)
    assert mentions(f"error: {root}/seed_0/train.jsonl, line 3: damaged", "seed_0/train.jsonl")
    assert not mentions(f"{root}/seed_0: damaged", "seed_0/train.jsonl")


def test_only_what_a_message_tells_to_remove_is_removed(tmp_path):
    study = Study(tmp_path).create()
    damaged, other = study.root / "seed_0" / "state", study.root / "seed_1"
    damaged.mkdir(parents=True)
    other.mkdir()
    outcome = Outcome(0, "flipped bit")
    assert not follow(study, Result(2, f"error: {damaged}: it is damaged"), outcome)
    assert not follow(study, Result(2, "error: /etc/passwd: it is damaged; remove it"), outcome)
    assert not follow(study, Result(2, f"error: {study.config}: it is damaged; remove it"), outcome)
    assert damaged.exists() and outcome.end == UNAIDED
    assert follow(study, Result(2, f"error: {damaged}: no saved state can be read; remove the folder"), outcome)
    assert not damaged.exists() and other.exists() and len(outcome.messages) == 1 and outcome.end == REMEDIED


def test_data_are_removed_as_a_message_says(tmp_path):
    study = Study(tmp_path).create()
    (study.data / "digits_8").mkdir(parents=True)
    assert follow(study, Result(2, f"error: {study.data}/digits_8 is damaged; remove that folder"), Outcome(0, "x"))
    assert not any(study.data.iterdir())


def test_a_changed_configuration_is_corrected_as_a_message_says(tmp_path):
    study, outcome = Study(tmp_path).create(), Outcome(0, "flipped bit")
    file = study.root / "seed_0" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("train:\n  lr: 0.2\n  ema_rates: [0.9]\nseed: 0\n", encoding="utf-8")
    changes = "train.lr: 0.2, now 0.1; train.ema_rates: [0.9], now [0.99, 0.5]"
    error = f"error: {file.parent} was created with a different configuration ({changes}); "
    assert follow(study, Result(2, error + f"give it another name=…, or correct {file} if it was changed"), outcome)
    assert OmegaConf.load(file) == {"train": {"lr": 0.1, "ema_rates": [0.99, 0.5]}, "seed": 0}
    assert outcome.end == REMEDIED


@pytest.mark.parametrize("name", ["", "seed_0"])
def test_the_removal_of_a_whole_run_is_reported_separately(tmp_path, name):
    study, outcome = Study(tmp_path).create(), Outcome(0, "flipped bit")
    run = study.root / name
    run.mkdir(parents=True)
    message = f"error: {run} contains no configuration; remove the folder"
    assert follow(study, Result(2, message), outcome)
    outcome.worsen(REMEDIED, "verify: …")
    assert outcome.end == REMADE
    assert "| flipped bit | 1 | 0 | 0 | 1 | 0 |" in report([outcome], 0)


def test_a_process_that_outlives_a_command_does_not_delay_its_end():
    code = "import subprocess; print('done', flush=True); subprocess.Popen(['sleep', '60'], start_new_session=True)"
    started_s = time.monotonic()
    assert finish(Command([sys.executable, "-c", code], {})) == Result(0, "done\n")
    assert time.monotonic() - started_s < 30
