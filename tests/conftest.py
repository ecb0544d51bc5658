"""Shared fixtures: reference outputs, random weights, and a tiny experiment that runs in seconds."""

import json
import os
import shutil
import signal
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
from browser import visit  # noqa: F401
from safetensors.torch import load_file
from torch import Tensor, nn
from wandb_server import KEY, WandbServer

from analyze.analysis import SeedAnalysis
from configs.checks import checkpoint_steps
from configs.load import load, load_model_study
from configs.schema import Diffusion, Experiment, Model, ModelStudy
from diffusion.denoiser import Denoiser
from diffusion.losses import GaussianDiffusion, network_time_scale
from diffusion.schedule import Schedule
from models.unet import UNet
from records import checkpoint
from records.atomic import write_text
from records.layout import seed_folder

REPOSITORY = Path(__file__).parent.parent
REFERENCE = Path(__file__).parent / "reference"

# A background job of a shell ignores SIGINT, and the processes that tests start and interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Reference:
    """A network of improved-diffusion or guided-diffusion and its outputs, see tests/reference/README.md."""

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
    """Return the folder with pipelines of diffusers."""
    return REFERENCE


@pytest.fixture(scope="session")
def unet32() -> Reference:
    return _open_reference("unet32")


@pytest.fixture(scope="session")
def unet64() -> Reference:
    return _open_reference("unet64")


@pytest.fixture(scope="session")
def guided16() -> Reference:
    return _open_reference("guided16")


@pytest.fixture(scope="session")
def guided16_means() -> Reference:
    return _open_reference("guided16_means")


@pytest.fixture(scope="session")
def trained32() -> Reference:
    return _open_reference("trained32")


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


def _open_reference(name: str) -> Reference:
    description = json.loads((REFERENCE / f"{name}.json").read_text())
    diffusion = Diffusion(**description["diffusion"])
    network = UNet.from_config(Model(**description["model"]), diffusion).eval().requires_grad_(False)
    weights_file = REFERENCE / f"{name}.safetensors"
    weights = load_file(weights_file) if weights_file.exists() else _random_weights(description)
    network.load_state_dict(weights, strict=True)
    with np.load(REFERENCE / f"{name}.npz") as file:
        arrays = dict(file)
    return Reference(description["parameters"], diffusion, network, Schedule.from_config(diffusion), arrays)


def _random_weights(description: dict) -> dict[str, Tensor]:
    """Return a reference's random weights, which must have the recorded sums of absolute values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(description["weights_seed"])
        weights = {key: _random_tensor(key, shape) for key, (shape, _) in description["weights"].items()}
    for key, (_, magnitude) in description["weights"].items():
        actual = weights[key].double().abs().sum().item()
        assert actual == pytest.approx(magnitude, rel=1e-5), f"{key}: torch.randn has changed"
    return weights


def _random_tensor(key: str, shape: list[int]) -> Tensor:
    r = torch.randn(shape)
    if r.ndim > 1:
        return r * r[0].numel() ** -0.5
    return 1 + 0.1 * r if key.endswith("weight") else 0.05 * r


@pytest.fixture(scope="session")
def relative_error():
    """Return a function for the maximum difference of two tensors, relative to the maximum of the second."""

    def error(actual: Tensor, expected: Tensor) -> float:
        assert actual.shape == expected.shape
        return ((actual.double() - expected.double()).abs().max() / expected.double().abs().max()).item()

    return error


@pytest.fixture(scope="session")
def random_unet():
    """Return a function that creates a small network without zero weights, so that every layer has an effect."""

    def network(out_channels: int = 3, **options) -> UNet:
        small = {"image_size": 8, "model_channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1}
        small |= {"attention_resolutions": [4], "num_heads": 2, "norm_groups": 4}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            unet = UNet(Model(**(small | options)), out_channels)
            for parameter in unet.parameters():
                nn.init.normal_(parameter, std=0.2)
        return unet.eval().requires_grad_(False)

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
    "analyze.measures.inversion_checkpoints=none",
    "wandb.mode=disabled",
]

TINY_MODEL_STUDY = [
    "sweep=[2,4]",
    "analyze.weights=model",
    "analyze.precision=fp32",
    "analyze.ddim_steps=4",
    "analyze.samples=8",
    "analyze.batch_size=1",
    "analyze.pictures=3",
    "analyze.measures.knn_k=2",
    "analyze.measures.inversion_checkpoints=none",
    "wandb.mode=disabled",
]


@pytest.fixture(scope="session")
def command_line():
    """Return a function that returns the arguments of a command for a tiny experiment below a folder."""

    def arguments(folder: Path, *overrides: str) -> list[str]:
        config = REPOSITORY / "configs" / "digits.yaml"
        return [str(config), *TINY, f"runs={folder}/runs", f"data.root={folder}/data", *overrides]

    return arguments


@pytest.fixture(scope="session")
def start():
    """Return a function that starts `python -m …` in the repository, with as many threads as this process.

    Keywords are environment variables.
    """
    processes: list[subprocess.Popen] = []

    def start_process(*command: str, **variables: str) -> subprocess.Popen:
        environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), **variables}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen([sys.executable, "-m", *command], cwd=REPOSITORY, env=environment, **pipes))
        return processes[-1]

    yield start_process
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def wait_until():
    """Return a function that waits until a condition is true."""

    def wait(condition: Callable[[], object], timeout_s: float = 120, pause_s: float = 0.02) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the condition did not become true in time"
            time.sleep(pause_s)

    return wait


@pytest.fixture
def wandb_server(monkeypatch, tmp_path):
    """Start a local W&B server, and log this test and its child processes in to it."""
    wandb.teardown()  # an earlier test may have connected to another server
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
    """Return a function that returns a tiny experiment below the test's folder."""

    def experiment(*overrides: str) -> Experiment:
        config, *options = command_line(tmp_path, *overrides)
        return load(config, options)

    return experiment


@pytest.fixture
def with_checkpoints(tiny):
    """Return a function that returns a tiny experiment with all checkpoints, which have random weights."""

    def prepare(*overrides: str) -> Experiment:
        experiment = tiny(*overrides)
        write_checkpoints(experiment)
        return experiment

    return prepare


@pytest.fixture
def tiny_model_study(with_checkpoints, tmp_path):
    """Return a function that returns a model study of a class-conditional checkpoint."""
    folder = seed_folder(with_checkpoints("model.num_classes=4"), 0).checkpoint(8)

    def load(*overrides: str, source: Path = folder) -> ModelStudy:
        return load_model_study(str(source), [*TINY_MODEL_STUDY, f"runs={tmp_path}/runs", "name=model", *overrides])

    return load


@pytest.fixture(scope="session")
def analyzed_runs(tmp_path_factory, command_line) -> Path:
    """Return the runs folder, to be copied, of a tiny experiment with all checkpoints analyzed."""
    config, *options = command_line(tmp_path_factory.mktemp("analyzed"))
    experiment = load(config, options)
    write_checkpoints(experiment)
    for seed in experiment.seeds:
        analysis = SeedAnalysis(experiment, seed)
        analysis.analyze(analysis.missing())
    return Path(experiment.runs)


@pytest.fixture
def analyzed(tiny, analyzed_runs):
    """Return a function that returns a tiny experiment with all checkpoints analyzed."""

    def prepare(*overrides: str) -> Experiment:
        experiment = tiny(*overrides)
        shutil.copytree(analyzed_runs, experiment.runs)
        return experiment

    return prepare


def write_checkpoints(experiment: Experiment) -> None:
    """Write all checkpoints of an experiment with random weights, and mark its training as finished."""
    for seed in experiment.seeds:
        folder = seed_folder(experiment, seed)
        for step in checkpoint_steps(experiment.train.checkpoints, experiment.train.steps):
            weights = _checkpoint_weights(experiment, seed, step)
            weights_by_name = {"model": weights, "ema_0.99": weights}
            path = folder.checkpoint(step)
            checkpoint.write(path, step, seed, experiment.model, experiment.diffusion, weights_by_name)
        write_text(folder.trained(experiment.train.steps), "")


def _checkpoint_weights(experiment: Experiment, seed: int, step: int) -> dict[str, Tensor]:
    network = UNet.from_config(experiment.model, experiment.diffusion)
    generator = torch.Generator().manual_seed(1000 * seed + step)
    return {name: 0.2 * torch.randn(value.shape, generator=generator) for name, value in network.state_dict().items()}
