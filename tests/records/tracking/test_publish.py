"""Publication of points while another process publishes. No test opens a W&B run."""

from records import lock
from records.layout import seed_folder
from records.tracking import publish
from records.tracking.runs import RunSpec


def test_points_are_left_to_a_later_command_while_another_process_sends(tiny, monkeypatch, capsys):
    experiment = tiny("wandb.mode=offline")
    spec = RunSpec(experiment, 0, "train", seed_folder(experiment, 0).root, "digits")
    monkeypatch.setattr(publish, "LOCK_TIMEOUT_S", 0.0)
    with lock.hold(spec.folder / "wandb.lock", "sending, process 1", 0):
        publish.publish(spec, lambda: [{"step": 2}], lambda step: {}, lambda run: None)
    (message,) = capsys.readouterr().err.splitlines()
    assert "digits seed 0 train" in message and "(sending, process 1); rerun the command later to send" in message
