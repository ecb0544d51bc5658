"""Tensors of a checkpoint: made when first asked for, kept, and made again only where what is kept cannot be read."""

import pytest
import torch

from analyze.analysis import SeedAnalysis
from analyze.generations import Tensors
from configs.errors import UserError
from diffusion.randomness import fixed_noise


@pytest.fixture
def seed_analysis(as_if_trained) -> SeedAnalysis:
    return SeedAnalysis(as_if_trained(), 0)


def kept(analysis: SeedAnalysis) -> set[str]:
    folder = analysis.folder / "generations"
    return {str(file.relative_to(folder)) for file in folder.rglob("*.safetensors")}


def test_noise_is_the_fixed_one(seed_analysis):
    tensors, options = seed_analysis.tensors(2), seed_analysis.options
    assert torch.equal(tensors["noise"], fixed_noise((1, 8, 8), options.samples, options.noise_seed))


def test_what_no_checkpoint_has_is_refused_with_what_there_is(seed_analysis):
    with pytest.raises(UserError, match=r"asks for sample, .* there are .*noise, .*samples, .*training_images"):
        seed_analysis.tensors(2)["sample"]


def test_what_is_asked_for_is_made_and_kept_and_nothing_else(seed_analysis):
    seed_analysis.tensors(2)["samples"]
    assert kept(seed_analysis) == {"000000002/samples.safetensors"}
    seed_analysis.tensors(2)["last_latents"]
    assert kept(seed_analysis) == {
        "000000002/samples.safetensors",
        "000000008/samples.safetensors",
        "000000002/last_latents-000000008.safetensors",
    }


@pytest.mark.parametrize("name", ["samples", "latents", "last_latents", "reconstructions", "trajectory"])
def test_what_was_kept_comes_back_bit_for_bit(seed_analysis, name):
    made = seed_analysis.tensors(5)[name]
    file = seed_analysis.tensors(5).file(name)
    before = file.stat().st_mtime_ns
    assert torch.equal(seed_analysis.tensors(5)[name], made) and file.stat().st_mtime_ns == before


@pytest.mark.parametrize("left", [0, 5, 1000])
def test_what_cannot_be_read_is_made_again(seed_analysis, left):
    made, file = seed_analysis.tensors(5)["samples"], seed_analysis.tensors(5).file("samples")
    whole = file.read_bytes()
    file.unlink()  # a new file: the tensor may be mapped from the old one
    file.write_bytes(whole[:left])
    assert torch.equal(seed_analysis.tensors(5)["samples"], made) and file.read_bytes() == whole


def test_the_last_checkpoint_is_its_own_last(seed_analysis):
    tensors: Tensors = seed_analysis.tensors(8)
    assert torch.equal(tensors["last_samples"], tensors["samples"])
    assert torch.equal(tensors["last_latents"], tensors["latents"])
    assert torch.equal(seed_analysis.tensors(0)["last_samples"], tensors["samples"])


def test_seeds_and_checkpoints_differ_and_share_their_noise(as_if_trained):
    experiment = as_if_trained()
    one, other = (SeedAnalysis(experiment, seed).tensors(2) for seed in (0, 10))
    assert torch.equal(one["noise"], other["noise"]) and not torch.equal(one["samples"], other["samples"])
