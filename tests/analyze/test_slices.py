"""Tests that slices of the images, generated separately, are the images of one process."""

import dataclasses
import math

import pytest
import torch
from safetensors.torch import save_file

from analyze import slices
from analyze.model import ModelAnalysis, open_analyses
from configs.errors import UserError

SAMPLES = 6


@pytest.fixture
def analysis(tiny_model_study):
    """Return a function that returns the analysis of a class-conditional model, under a name."""

    def open_one(name: str) -> ModelAnalysis:
        study = tiny_model_study("sweep=[4]", f"analyze.samples={SAMPLES}", f"name={name}")
        return open_analyses(study)[1][0]

    return open_one


@pytest.fixture
def expected(analysis) -> dict[str, torch.Tensor]:
    """The tensors of one process."""
    generations = analysis("expected").generations(4)
    return {name: generations[name] for name in slices.SLICED}


def test_ranges():
    covered = [range(6, 8), range(0, 2), range(1, 4), range(20, 30)]
    assert slices.gaps(covered, range(0, 10)) == [range(4, 6), range(8, 10)]
    assert slices.gaps(covered, range(1, 3)) == [] and slices.gaps([], range(3, 5)) == [range(3, 5)]
    assert slices.union(covered) == [range(0, 4), range(6, 8), range(20, 30)]
    assert list(slices.pieces([range(0, 5), range(7, 9)], 3)) == [range(0, 3), range(3, 5), range(7, 9)]
    assert slices.intersection(range(2, 8), range(0, 4)) == range(2, 4)


def test_slices_are_the_images_of_one_process(analysis, expected):
    """Noise, labels and numbers of each image depend on its index and not on its slice; slices are joined on use."""
    sliced = analysis("sliced")
    generations = sliced.generations(4)
    for part in (range(3, SAMPLES), range(0, 3)):
        sliced.generate(part)
        for name, dimension in slices.SLICED.items():
            tensor = expected[name].narrow(dimension, part.start, len(part))
            assert torch.equal(generations.slice(part)[name], tensor)
    assert torch.equal(generations.slice(range(2, 4))["noise"], generations["noise"][2:4])
    assert sliced.calls(slices.SLICED) == 0 and not generations.file("latents").exists()
    for name, tensor in expected.items():
        assert torch.equal(sliced.generations(4)[name], tensor)
    sliced.analyze(sliced.steps)
    assert sliced.missing() == [] and not list(sliced.root.rglob("slices"))


def test_only_missing_images_are_generated(analysis, expected):
    """Slices may overlap; the images that no slice contains are generated when the slices are joined."""
    sliced = analysis("sliced")
    generations = sliced.generations(4)
    for part in (range(1, 3), range(2, 4)):
        generations.slice(part)["latents"]
    assert slices.missing(generations, "latents", range(SAMPLES)) == [range(0, 1), range(4, SAMPLES)]
    assert sliced.calls(["latents"]) == 4 * 3 and sliced.calls(["reconstructions"]) == 4 * SAMPLES
    modified_ns = {file: file.stat().st_mtime_ns for file in slices.files(generations, "samples").values()}
    sliced.generate(range(0, SAMPLES))
    assert all(file.stat().st_mtime_ns == time_ns for file, time_ns in modified_ns.items())
    assert torch.equal(generations["latents"], expected["latents"])


def test_a_damaged_slice_is_generated_again(analysis, expected):
    sliced = analysis("sliced")
    generations = sliced.generations(4)
    sliced.generate(range(0, SAMPLES))
    file = slices.slice_file(generations.file("samples"), range(2, 3))
    file.write_bytes(file.read_bytes()[:10])
    save_file({"samples": torch.zeros(2, 1, 8, 8)}, slices.slice_file(generations.file("samples"), range(4, 5)))
    assert slices.missing(generations, "samples", range(SAMPLES)) == [range(2, 3), range(4, 5)]
    assert torch.equal(generations["samples"], expected["samples"])


def test_slices_of_different_shapes_name_the_remedy(analysis):
    sliced = analysis("sliced")
    generations = sliced.generations(4)
    sliced.generate(range(0, SAMPLES))
    file = slices.slice_file(generations.file("samples"), range(4, 5))
    save_file({"samples": torch.zeros(1, 1, 16, 16)}, file)
    with pytest.raises(UserError, match=f"{file.parent}: slices of samples differ in shape; remove this folder"):
        generations["samples"]


def test_a_stored_tensor_is_not_generated_in_slices(analysis, expected):
    """Its slices are read from it, and only those of the other tensors are stored."""
    sliced = analysis("sliced")
    generations = sliced.generations(4)
    generations["samples"]
    sliced.generate(range(2, 4))
    assert torch.equal(generations.slice(range(2, 4))["samples"], expected["samples"][2:4])
    assert list(slices.files(generations, "samples")) == [range(0, SAMPLES)]
    assert set(slices.files(generations, "latents")) == {range(2, 3), range(3, 4)}


def test_the_failure_of_a_slice_is_recorded(analysis, monkeypatch):
    sliced = analysis("sliced")
    options = dataclasses.replace(sliced.options, clip_denoised=False)
    failing = dataclasses.replace(sliced, analyze_options=options)
    denoiser = sliced.load_denoiser(torch.device("cpu"))
    broken = dataclasses.replace(denoiser, network=lambda x_t, t, y: x_t * math.nan)
    failing = dataclasses.replace(failing, load_denoiser=lambda device, optimized=True: broken)
    with pytest.raises(UserError, match="the model's outputs are not finite"):
        failing.generate(range(0, 2))
    assert failing.failures() == {4: "the model's outputs are not finite"}


def test_slices_that_cannot_be_read_are_not_replaced(analysis):
    """They may be intact; a link to itself cannot be opened by any user."""
    part = analysis("sliced").generations(4).slice(range(2, 4))
    part["samples"]
    file = part.file("samples")
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(UserError, match=r"samples-.* cannot be read \(.*symbolic links.*\); make it readable"):
        part["samples"]
    assert file.is_symlink()
