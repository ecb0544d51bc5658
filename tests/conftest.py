"""What tests of several rooms share: reference outputs, random weights and an experiment that takes seconds."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import wandb
from safetensors.torch import load_file
from torch import Tensor, nn
from wandb_server import KEY, WandbServer

from analyze.analysis import SeedAnalysis
from configs.checks import checkpoint_steps
from configs.load import load
from configs.schema import Diffusion, Experiment, Model
from diffusion.denoiser import Denoiser
from diffusion.losses import GaussianDiffusion, network_time_scale
from diffusion.schedule import Schedule
from models.unet import UNet
from records import checkpoint
from records.atomic import write_text
from records.layout import seed_folder

REPOSITORY = Path(__file__).parent.parent
REFERENCE = Path(__file__).parent / "reference"


@dataclass(frozen=True)
class Reference:
    """A network of improved-diffusion or guided-diffusion and what it computes: see tests/reference/README.md."""

    parameters: int
    diffusion: Diffusion
    network: UNet
    schedule: Schedule
    arrays: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])

    def labels(self, name: str) -> Tensor | None:
        return self[name] if name in self.arrays else None

    @property
    def denoiser(self) -> Denoiser:
        model = self.network.config
        return Denoiser(
            network=self.network,
            levels=self.schedule.levels,
            shape=(model.in_channels, model.image_size, model.image_size),
            timestep_scale=network_time_scale(self.schedule, self.diffusion.rescale_timesteps),
            num_classes=model.num_classes,
            device=torch.device("cpu"),
        )

    @property
    def gaussian_diffusion(self) -> GaussianDiffusion:
        return GaussianDiffusion(self.schedule, self.diffusion.variance, self.diffusion.rescale_timesteps)


@pytest.fixture(scope="session")
def pipelines() -> Path:
    """The folder with pipelines of diffusers."""
    return REFERENCE


@pytest.fixture(scope="session")
def unet32() -> Reference:
    return _open("unet32")


@pytest.fixture(scope="session")
def unet64() -> Reference:
    return _open("unet64")


@pytest.fixture(scope="session")
def guided16() -> Reference:
    return _open("guided16")


@pytest.fixture(scope="session")
def guided16_means() -> Reference:
    return _open("guided16_means")


@pytest.fixture(scope="session")
def trained32() -> Reference:
    return _open("trained32")


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


def _open(name: str) -> Reference:
    about = json.loads((REFERENCE / f"{name}.json").read_text())
    diffusion = Diffusion(**about["diffusion"])
    network = UNet.from_config(Model(**about["model"]), diffusion)
    stored = REFERENCE / f"{name}.safetensors"
    network.load_state_dict(load_file(stored) if stored.exists() else _drawn(about), strict=True)
    with np.load(REFERENCE / f"{name}.npz") as file:
        arrays = dict(file)
    return Reference(
        about["parameters"], diffusion, network.eval().requires_grad_(False), Schedule.from_config(diffusion), arrays
    )


def _drawn(about: dict) -> dict[str, Tensor]:
    """The random weights that a reference was made with, checked against the sums that are stored of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(about["weights_seed"])
        weights = {key: _drawn_tensor(key, shape) for key, (shape, _) in about["weights"].items()}
    for key, (_, magnitude) in about["weights"].items():
        assert weights[key].double().abs().sum().item() == pytest.approx(magnitude, rel=1e-5), (
            f"{key}: torch.randn draws others"
        )
    return weights


def _drawn_tensor(key: str, shape: list[int]) -> Tensor:
    r = torch.randn(shape)
    if r.ndim > 1:
        return r * r[0].numel() ** -0.5
    return 1 + 0.1 * r if key.endswith("weight") else 0.05 * r


@pytest.fixture(scope="session")
def relative_error():
    """A function: the largest difference of two tensors, relative to the largest value of the second."""

    def error(actual: Tensor, expected: Tensor) -> float:
        assert actual.shape == expected.shape
        return ((actual.double() - expected.double()).abs().max() / expected.double().abs().max()).item()

    return error


@pytest.fixture(scope="session")
def random_unet():
    """A function: a network for some options, in which no weight is zero, so that every part of it counts."""

    def network(out_channels: int = 3, **options) -> UNet:
        small = {"image_size": 8, "model_channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1}
        small |= {"attention_resolutions": [4], "num_heads": 2, "norm_groups": 4}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = UNet(Model(**(small | options)), out_channels)
            for parameter in made.parameters():
                nn.init.normal_(parameter, std=0.2)
        return made.eval().requires_grad_(False)

    return network


TINY = [
    "model.image_size=8",
    "model.model_channels=4",
    "model.channel_mult=[1]",
    "model.attention_resolutions=[]",
    "model.norm_groups=2",
    "model.num_heads=1",
    "model.dropout=0.1",
    "train.steps=8",
    "train.batch_size=4",
    "train.warmup_steps=3",
    "train.lr=1e-2",
    "train.checkpoints.at=[0,2,5]",
    "train.log_every=2",
    "analyze.samples=8",
    "analyze.ddim_steps=4",
    "analyze.batch_size=8",
    "analyze.precision=fp32",
    "analyze.pictures=3",
    "analyze.measures.knn_k=3",
    "analyze.measures.mapping_images=4",
    "analyze.measures.dino_model=/absent",
    "wandb.mode=disabled",
]


@pytest.fixture(scope="session")
def command_line():
    """A function: the arguments of a command for a tiny experiment that is kept below a folder."""

    def arguments(folder: Path, *overrides: str) -> list[str]:
        config = REPOSITORY / "configs" / "digits.yaml"
        return [str(config), *TINY, f"runs={folder}/runs", f"data.root={folder}/data", *overrides]

    return arguments


@pytest.fixture(scope="session")
def start():
    """A function: starts `python -m …` in the repository, with as many threads as here."""
    started = []

    def process(*command: str) -> subprocess.Popen:
        environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, "-m", *command], cwd=REPOSITORY, env=environment, **pipes))
        return started[-1]

    yield process
    for one in started:
        one.kill()
        one.communicate()


@pytest.fixture(scope="session")
def wait_until():
    """A function: returns when something has come true."""

    def wait(condition: Callable[[], object], timeout_s: float = 120, pause_s: float = 0.02) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not come true in time"
            time.sleep(pause_s)

    return wait


@pytest.fixture
def wandb_server(monkeypatch, tmp_path):
    """A stand-in for W&B's server that everything in this test, and the processes it starts, is logged in at."""
    wandb.teardown()  # what an earlier test has set up knows another server
    server = WandbServer()
    server.start()
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb_data"))
    yield server
    wandb.teardown()
    server.stop()


@pytest.fixture
def tiny(tmp_path, command_line):
    """A function: a tiny experiment that is kept below this test's folder."""

    def experiment(*overrides: str) -> Experiment:
        config, *options = command_line(tmp_path, *overrides)
        return load(config, options)

    return experiment


@pytest.fixture
def with_checkpoints(tiny):
    """A function: a tiny experiment with all its checkpoints, of random weights, as training would leave them."""

    def experiment(*overrides: str) -> Experiment:
        made = tiny(*overrides)
        write_checkpoints(made)
        return made

    return experiment


@pytest.fixture(scope="session")
def analyzed_runs(tmp_path_factory, command_line) -> Path:
    """The runs folder of a tiny experiment, as if trained, of which every checkpoint is analyzed: to be copied."""
    config, *options = command_line(tmp_path_factory.mktemp("analyzed"))
    experiment = load(config, options)
    write_checkpoints(experiment)
    for seed in experiment.seeds:
        analysis = SeedAnalysis(experiment, seed)
        analysis.analyze(analysis.missing())
    return Path(experiment.runs)


@pytest.fixture
def analyzed(tiny, analyzed_runs):
    """A function: a tiny experiment, as if trained, of which every checkpoint is analyzed."""

    def experiment(*overrides: str) -> Experiment:
        made = tiny(*overrides)
        shutil.copytree(analyzed_runs, made.runs)
        return made

    return experiment


def write_checkpoints(experiment: Experiment) -> None:
    for seed in experiment.seeds:
        folder = seed_folder(experiment, seed)
        for step in checkpoint_steps(experiment.train.checkpoints, experiment.train.steps):
            weights = _some_weights(experiment, seed, step)
            sets = {"model": weights, "ema_0.99": weights}
            checkpoint.write(folder.checkpoint(step), step, seed, experiment.model, experiment.diffusion, sets)
        write_text(folder.trained(experiment.train.steps), "")


def _some_weights(experiment: Experiment, seed: int, step: int) -> dict[str, Tensor]:
    network = UNet.from_config(experiment.model, experiment.diffusion)
    generator = torch.Generator().manual_seed(1000 * seed + step)
    return {name: 0.2 * torch.randn(value.shape, generator=generator) for name, value in network.state_dict().items()}
