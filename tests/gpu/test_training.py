"""Training on a GPU: losses in each precision, bit-exact resume, several processes, and no synchronization."""

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from records.layout import SeedFolder, seed_folder
from records.tracking.points import read_points
from train.accelerator import new_accelerator
from train.signals import SignalFlags
from train.statistics import LossStatistics
from train.trainer import Trainer, train
from train.writer import snapshot

LARGER = [
    "model.norm_groups=4",
    "model.model_channels=16",
    "model.channel_mult=[1,2]",
    "model.attention_resolutions=[4]",
]


@pytest.fixture(autouse=True)
def new_process_state():
    """Let each test choose its precision, which Accelerate otherwise keeps for the process."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.fixture
def run(tiny):
    """Return a function that trains with some overrides and returns the run's folder."""

    def train_run(*overrides: str) -> SeedFolder:
        AcceleratorState._reset_state()
        experiment = tiny(*LARGER, *overrides)
        train(experiment)
        return seed_folder(experiment, experiment.seed)

    return train_run


def losses(folder: SeedFolder) -> list[float]:
    return [point["loss"] for point in read_points(folder.log)]


def weights(folder: SeedFolder) -> dict[str, bytes]:
    return {str(file.relative_to(folder.root)): file.read_bytes() for file in folder.checkpoints.rglob("*.safetensors")}


def vector(folder: SeedFolder, step: int, name: str) -> torch.Tensor:
    """Return all values of a weights file of a checkpoint."""
    weights = load_file(folder.checkpoint(step) / f"{name}.safetensors")
    return torch.cat([value.double().flatten() for value in weights.values()])


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("tf32", 5e-3), ("bf16", 3e-2), ("fp16", 1e-2)])
@pytest.mark.parametrize("compiled", ["false", "true"])
def test_losses_equal_those_of_the_cpu(compiled, precision, bound, gpu, run, tiny, tmp_path, command_line, start):
    """The reference is float32 on the CPU, in a process that does not see the GPU; dropout is included."""
    options = [*LARGER, "train.log_every=1", "train.lr=1e-3"]
    folder = run(*options, f"train.precision={precision}", f"train.compile={compiled}", "name=gpu")
    process = start("train", *command_line(tmp_path, *options, "name=cpu"), CUDA_VISIBLE_DEVICES="")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert losses(folder) == pytest.approx(losses(seed_folder(tiny("name=cpu"), 0)), rel=bound)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resume_is_bit_exact_with_deterministic_kernels(precision, training_device, run):
    options = [f"train.precision={precision}", "train.deterministic=true", "train.log_every=1"]
    options += ["train.checkpoints.at=[0,4,8]"]
    for steps in (4, 8):
        resumed = run(*options, f"train.steps={steps}", "name=resumed")
    uninterrupted = run(*options, "train.steps=8", "name=uninterrupted")
    assert weights(resumed) == weights(uninterrupted) and len(weights(resumed)) == 3 * 2
    assert resumed.log.read_bytes() == uninterrupted.log.read_bytes()


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 0.01), ("bf16", 0.05)])
def test_recorded_steps_equal_launched_ones(precision, bound, gpu, run):
    """Up to the rounding of the learning rate to float32; the first three steps are never recorded."""
    options = [f"train.precision={precision}", "train.deterministic=true", "train.log_every=1", "train.warmup_steps=6"]
    launched = run(*options, "train.steps=12", "train.graph=false", "name=launched")
    recorded = run(*options, "train.steps=12", "train.graph=true", "name=recorded")
    assert len(losses(recorded)) == 12
    assert losses(recorded) == pytest.approx(losses(launched), rel=1e-4)
    for name in ("model", "ema_0.99"):
        first, last = (vector(launched, step, name) for step in (0, 12))
        assert (vector(recorded, 12, name) - last).norm() < bound * (last - first).norm(), name


def test_two_processes_on_one_device_log_the_same_losses_as_one(
    training_device, tiny, tmp_path, command_line, start, repository
):
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = str(repository / "tests" / "gpu" / "train_with_gloo.py")
    options = ["train.log_every=1", "data.horizontal_flip=true", "model.dropout=0.3"]
    options += ["train.loss=vlb", "train.timestep_sampler=loss_second_moment"]
    for name, command in {"one": ["train"], "two": [*launcher, script]}.items():
        process = start(*command, *command_line(tmp_path, *options, f"name={name}"), PYTHONPATH=str(repository))
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    one, two = (read_points(seed_folder(tiny(f"name={name}"), 0).log) for name in ("one", "two"))
    assert len(one) == len(two) == 8
    for expected, actual in zip(one, two, strict=True):
        assert actual == pytest.approx(expected, rel=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", ["false", "true"])
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_steps_between_logged_ones_do_not_synchronize(precision, compiled, gpu, tiny):
    """Loading and moving a batch is part of a step."""
    experiment = tiny(f"train.precision={precision}", f"train.compile={compiled}", "train.max_grad_norm=1.0", *LARGER)
    accelerator = new_accelerator(precision)
    trainer = Trainer(experiment, seed_folder(experiment, 0), accelerator, SignalFlags())
    try:
        for step in range(6):
            torch.cuda.set_sync_debug_mode("error" if step >= 3 else "default")  # the first steps initialize libraries
            trainer.train_step(trainer.loader.to_device(trainer.loader.load(step)))
    finally:
        torch.cuda.set_sync_debug_mode("default")
        trainer.close()


def test_statistics_have_the_same_bits_in_every_run(device):
    generator = torch.Generator().manual_seed(0)
    loss = torch.randn(4096, generator=generator).exp() * 10.0 ** torch.randint(-9, 9, (4096,), generator=generator)
    t = torch.randint(0, 4000, (4096,), generator=generator)
    runs = [LossStatistics(device) for _ in range(5)]
    for statistics in runs:
        statistics.add({"loss": loss.to(device)}, t.to(device), 4000)
    assert all(torch.equal(statistics.sums, runs[0].sums) for statistics in runs)
    quarters = [loss.double()[t // 1000 == quarter].sum() for quarter in range(4)]
    torch.testing.assert_close(runs[0].sums[0, 1:].cpu(), torch.stack(quarters))


def test_snapshots_do_not_follow_later_changes(device):
    weight = torch.randn(64, 64, 3, 3, device=device).to(memory_format=torch.channels_last)
    expected = weight.cpu().clone()
    copy = snapshot({"weight": weight})["weight"]
    weight.zero_()
    assert torch.equal(copy, expected) and copy.device.type == "cpu" and copy.stride() == weight.stride()
