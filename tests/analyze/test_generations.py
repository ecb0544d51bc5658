"""Tests that generations are cached on first use and regenerated only if the cached file cannot be read."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file

from analyze.analysis import SeedAnalysis
from configs.errors import UserError
from diffusion.randomness import fixed_noise


@pytest.fixture
def seed_analysis(with_checkpoints) -> SeedAnalysis:
    return SeedAnalysis(with_checkpoints(), 0)


def cached_files(analysis: SeedAnalysis) -> set[str]:
    folder = analysis.folder / "generations"
    return {str(file.relative_to(folder)) for file in folder.rglob("*.safetensors")}


def test_noise_is_the_fixed_noise(seed_analysis):
    generations, options = seed_analysis.generations(2), seed_analysis.options
    assert torch.equal(generations["noise"], fixed_noise((1, 8, 8), options.samples, options.noise_seed))


def test_an_unknown_name_is_rejected_with_the_available_names(seed_analysis):
    with pytest.raises(UserError, match=r'parameter "sample", .* available are .*noise, .*samples, .*training_images'):
        seed_analysis.generations(2)["sample"]


def test_only_requested_tensors_and_their_inputs_are_cached(seed_analysis):
    seed_analysis.generations(2)["samples"]
    assert cached_files(seed_analysis) == {"000000002/samples.safetensors"}
    seed_analysis.generations(2)["last_latents"]
    assert cached_files(seed_analysis) == {
        "000000002/samples.safetensors",
        "000000008/samples.safetensors",
        "000000002/inversions/ddim-T4/last_latents-000000008.safetensors",
    }


@pytest.mark.parametrize("name", ["samples", "latents", "last_latents", "reconstructions", "trajectory"])
def test_cached_tensors_are_read_bit_for_bit(seed_analysis, name):
    tensor = seed_analysis.generations(5)[name]
    file = seed_analysis.generations(5).file(name)
    written_ns = file.stat().st_mtime_ns
    assert torch.equal(seed_analysis.generations(5)[name], tensor) and file.stat().st_mtime_ns == written_ns


def test_files_that_cannot_be_read_are_not_replaced(seed_analysis):
    """They may be intact; a link to itself cannot be opened by any user."""
    generations = seed_analysis.generations(5)
    generations["samples"]
    file = generations.file("samples")
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(
        UserError, match=r"samples\.safetensors cannot be read \(.*symbolic links.*\); make it readable"
    ):
        seed_analysis.generations(5)["samples"]
    assert file.is_symlink()


@pytest.mark.parametrize("length", [0, 5, 1000])
def test_truncated_files_are_regenerated(seed_analysis, length):
    samples, file = seed_analysis.generations(5)["samples"], seed_analysis.generations(5).file("samples")
    content = file.read_bytes()
    file.unlink()  # the tensor may be memory-mapped from the old file
    file.write_bytes(content[:length])
    assert torch.equal(seed_analysis.generations(5)["samples"], samples) and file.read_bytes() == content


@pytest.mark.parametrize("change", [torch.Tensor.double, lambda tensor: tensor[:3], lambda tensor: tensor[:0]])
def test_tensors_of_another_type_or_number_of_images_are_regenerated(change, seed_analysis):
    generations = seed_analysis.generations(5)
    for name in ("samples", "last_latents"):
        tensor, file = generations[name].clone(), generations.file(name)
        file.unlink()
        save_file({name: change(tensor).contiguous()}, file)
        assert torch.equal(seed_analysis.generations(5)[name], tensor)


def test_tensors_that_do_not_fit_the_model_name_the_remedy(seed_analysis):
    file = seed_analysis.generations(5).file("samples")
    file.parent.mkdir(parents=True)
    save_file({"samples": torch.zeros(8, 1, 16, 16)}, file)
    with pytest.raises(UserError, match=r"shape .1, 16, 16. do not fit the model's .1, 8, 8.; remove the folder gen"):
        seed_analysis.generations(5)["latents"]


def test_the_last_checkpoint_is_its_own_reference(seed_analysis):
    last = seed_analysis.generations(8)
    assert torch.equal(last["last_samples"], last["samples"])
    assert torch.equal(last["last_latents"], last["latents"])
    assert torch.equal(seed_analysis.generations(0)["last_samples"], last["samples"])


def test_seeds_share_their_noise_but_not_their_samples(with_checkpoints):
    experiment = with_checkpoints()
    first, second = (SeedAnalysis(experiment, seed).generations(2) for seed in (0, 10))
    assert torch.equal(first["noise"], second["noise"]) and not torch.equal(first["samples"], second["samples"])


def with_inversion_steps(analysis: SeedAnalysis, steps: int) -> SeedAnalysis:
    options = dataclasses.replace(analysis.options, inversion_steps=steps)
    return SeedAnalysis(dataclasses.replace(analysis.experiment, analyze=options), analysis.seed)


def test_another_inverter_shares_the_samples_and_has_its_own_results(seed_analysis):
    seed_analysis.analyze([8])
    samples = seed_analysis.generations(8).file("samples")
    written_ns = samples.stat().st_mtime_ns
    other = with_inversion_steps(seed_analysis, 2)
    assert other.missing() == [8, 5, 2, 0] and other.folder != seed_analysis.folder
    other.analyze([8])
    assert 8 not in other.missing() and 8 not in seed_analysis.missing()
    assert other.generations(8).file("samples") == samples and samples.stat().st_mtime_ns == written_ns
    latents = [analysis.generations(8)["latents"] for analysis in (seed_analysis, other)]
    assert not torch.equal(*latents)
    setting = json.loads(other.results_file(8).read_text())["setting"]
    assert setting == {
        "checkpoint": 8,
        "sampler": {"name": "ddim", "steps": 4},
        "inverter": {"name": "ddim", "steps": 2},
    }
    assert other.results(8)["distances"] != seed_analysis.results(8)["distances"]
    assert other.results(8)["cka"] == seed_analysis.results(8)["cka"]


def test_equal_inversion_steps_are_the_same_analysis(seed_analysis):
    assert with_inversion_steps(seed_analysis, 4).folder == seed_analysis.folder


def test_latents_stored_by_version_0_1_are_found(seed_analysis):
    generations = seed_analysis.generations(8)
    latents, file = generations["latents"], generations.file("latents")
    old = file.parent.parent.parent / file.name
    file.rename(old)
    written_ns = old.stat().st_mtime_ns
    assert generations.file("latents") == old and torch.equal(seed_analysis.generations(8)["latents"], latents)
    assert old.stat().st_mtime_ns == written_ns and not file.exists()
    assert with_inversion_steps(seed_analysis, 2).generations(8).file("latents") != old
