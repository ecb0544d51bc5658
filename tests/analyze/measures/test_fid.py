"""FID with a user-supplied network: 0 for the same images, the closed form for known features."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from analyze.measures import MEASURES
from analyze.measures.fid import fid, fid_requirements
from analyze.measures.unavailable import Unavailable
from configs.schema import Measures


class FourPixels(nn.Module):
    """A network whose features are the first four pixels of the red channel."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0].flatten(1)[:, :4].float() / 255


class Convolution(nn.Module):
    """A network with weights, which like Inception needs images in their type."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.convolution(images.float() / 255).flatten(1)


@pytest.fixture
def network(tmp_path) -> str:
    """Return the file of the network as TorchScript."""
    torch.jit.script(FourPixels()).save(str(tmp_path / "network.pt"))
    return str(tmp_path / "network.pt")


def random_bytes(count: int, seed: int, channels: int = 3) -> Tensor:
    """Draw uint8 images [count, channels, 4, 4]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, 4, 4), generator=generator, dtype=torch.uint8)


def as_samples(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


@pytest.mark.parametrize("channels", [1, 3])
def test_the_training_set_has_distance_0_from_itself(network, channels):
    images = random_bytes(200, 0, channels)
    assert fid(as_samples(images), images, fid_network=network).value == pytest.approx(0, abs=1e-6)


def test_matches_the_frechet_distance_of_the_features(network):
    """Compare with ‖μ − μ'‖² + tr(Σ + Σ' − 2(ΣΣ')^½), from eigenvalues."""
    samples, training = random_bytes(150, 1), random_bytes(300, 2)
    a, b = (FourPixels()(images).double().numpy() for images in (samples, training))
    roots = np.sqrt(np.linalg.eigvals(np.cov(a.T) @ np.cov(b.T)).real.clip(min=0)).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * roots
    assert fid(as_samples(samples), training, fid_network=network).value == pytest.approx(expected, rel=1e-4)


def test_a_network_with_weights_keeps_their_type(tmp_path):
    file = str(tmp_path / "convolution.pt")
    torch.jit.script(Convolution()).save(file)
    images = random_bytes(200, 0)
    assert fid(as_samples(images), images, fid_network=file).value == pytest.approx(0, abs=1e-6)


def test_earlier_checkpoints_do_not_affect_later_ones(network):
    training = random_bytes(300, 3)
    first = fid(as_samples(random_bytes(100, 4)), training, fid_network=network)
    fid(as_samples(random_bytes(100, 5)), training, fid_network=network)
    assert fid(as_samples(random_bytes(100, 4)), training, fid_network=network) == first


def test_the_message_names_the_missing_input(network, tmp_path):
    with pytest.raises(Unavailable, match="training images, which are not prepared"):
        fid(as_samples(random_bytes(9, 0)), random_bytes(9, 0)[:0], fid_network=network)
    (tmp_path / "none.pt").write_text("no network")
    with pytest.raises(Unavailable, match=r"fid_network=.*none.pt cannot be used"):
        fid(as_samples(random_bytes(9, 0)), random_bytes(9, 0), fid_network=str(tmp_path / "none.pt"))


def test_fid_requires_a_network_and_training_images(network, tmp_path):
    (tmp_path / "images.npy").touch()
    options, absent = Measures(fid_network=network), Measures(fid_network="absent.pt")
    assert fid_requirements(options, tmp_path) == {"network": True, "training images": True}
    assert fid_requirements(absent, tmp_path) == {"network": False, "training images": True}
    assert not any(fid_requirements(options, folder)["training images"] for folder in (None, tmp_path / "absent"))


def test_fid_is_off_without_a_network():
    (measure,) = (measure for measure in MEASURES if measure.name == "fid")
    assert not measure.is_on(Measures()) and measure.is_on(Measures(fid_network="a.pt"))
