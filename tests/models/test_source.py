"""Whatever a source is, it is opened as what it is, or refused in one sentence."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from configs.errors import UserError
from configs.load import load_model_study
from models.source import Source, check_ddim_steps, add_call_hook, find, open_source
from records.layout import seed_folder

CPU = torch.device("cpu")
INFERRED = ("openai.schedule=cosine", "openai.steps=4000")


@pytest.fixture
def state_dict(pipelines, tmp_path):
    """The .pt file that improved-diffusion's training left."""
    torch.save(load_file(pipelines / "trained32.safetensors"), tmp_path / "ema_0.99_000500.pt")
    return tmp_path / "ema_0.99_000500.pt"


def opened(source, *overrides):
    return open_source(load_model_study(str(source), overrides))


def test_a_checkpoint_folder_of_ours(with_checkpoints):
    folder = seed_folder(with_checkpoints(), 0).checkpoint(8)
    source = opened(folder, "analyze.weights=model")
    assert source.about[0] == "checkpoint of step 8 and seed 0, weights model"
    assert source.load_denoiser(CPU).shape == (1, 8, 8)
    with pytest.raises(UserError, match=r'holds no weights "ema_0\.9999", only'):
        opened(folder)


def test_a_state_dict_of_openai(state_dict, trained32, relative_error):
    source = opened(state_dict, *INFERRED)
    assert "given: schedule=cosine, steps=4000" in source.about
    x_T = trained32["x_T"]
    assert relative_error(source.load_denoiser(CPU).output(x_T, 2000), trained32.denoiser.output(x_T, 2000)) == 0


def test_a_pipeline_of_diffusers(pipelines):
    source = opened(pipelines / "ldm_vq")
    assert source.about == [
        "pipeline of diffusers",
        "codes of 3 × 16 × 16",
        "1,000 steps of diffusion, predicts ε, x_0 is not clipped",
    ]


def test_another_model_has_another_digest(state_dict, with_checkpoints):
    one = seed_folder(with_checkpoints(), 0)
    digests = {opened(one.checkpoint(step), "analyze.weights=model").digest for step in (5, 8)}
    digests.add(opened(state_dict, *INFERRED).digest)
    weights = torch.load(state_dict)
    weights["out.2.bias"] += 1
    torch.save(weights, state_dict)
    assert len(digests | {opened(state_dict, *INFERRED).digest}) == 4


def test_what_is_nothing_of_the_kind_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no weights")
    with pytest.raises(UserError, match="is neither a checkpoint folder, nor a pipeline of diffusers, nor"):
        opened(tmp_path)
    with pytest.raises(UserError, match="cannot be read as a state dict"):
        opened(tmp_path / "notes.txt")
    with pytest.raises(UserError, match=r"nowhere/model\.pt: no such file or folder"):
        opened("nowhere/model.pt")


def test_a_published_file_is_fetched_once(monkeypatch, tmp_path):
    asked = []

    def download(url, digest, folder, option):
        asked.append((url, digest, str(folder), option))
        return folder / "file.pt"

    monkeypatch.setattr("models.source.download", download)
    study = load_model_study("cifar10_uncond_50M_500K.pt", [f"downloads={tmp_path}"])
    assert find(study) == tmp_path / "file.pt"
    assert asked[0][0].startswith("https://") and asked[0][0].endswith("/cifar10_uncond_50M_500K.pt")
    (tmp_path / "cifar10_uncond_50M_500K.pt").touch()
    assert find(dataclasses.replace(study, source=str(tmp_path / "cifar10_uncond_50M_500K.pt"))).parent == tmp_path
    assert len(asked) == 1


def test_a_name_on_the_hub_that_cannot_be_had(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        UserError, match=r"nobody/nothing is no file or folder here, and cannot be had from the Hugging"
    ):
        opened("nobody/nothing")


@pytest.mark.parametrize(
    "ddim_steps, told", [(1001, "1,001 DDIM steps exceed the 1,000"), (300, None), (1000, None), (10, None)]
)
def test_a_model_takes_no_more_steps_than_it_has(ddim_steps, told, pipelines):
    source = opened(pipelines / "ldm_vq")
    if told is None:
        check_ddim_steps(source, ddim_steps)
        return
    with pytest.raises(UserError, match=told):
        check_ddim_steps(source, ddim_steps)


def test_a_stride_that_there_is_not_is_refused(unet32):
    with pytest.raises(UserError, match="T = 300: no integer stride over 4000 steps gives 300"):
        check_ddim_steps(Source([], "", unet32.denoiser, lambda device: unet32.denoiser), 300)


def test_calls_are_counted_and_change_nothing(unet32):
    calls = []
    x_T = unet32["x_T"]
    assert torch.equal(add_call_hook(unet32.denoiser, calls.append).output(x_T, 40), unet32.denoiser.output(x_T, 40))
    assert calls == [len(x_T)]
