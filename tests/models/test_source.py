"""Tests that every kind of model is opened, and that other sources are rejected."""

import dataclasses
import importlib
import shutil

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file
from tiny_pipelines import tiny_pipeline

from configs.errors import UserError
from configs.load import load_model_study
from models.source import Source, add_call_hook, check_ddim_steps, find_model, open_source, read_prompts
from records.layout import seed_folder

CPU = torch.device("cpu")
OPTIONS = ("openai.schedule=cosine", "openai.steps=4000")


@pytest.fixture
def state_dict(pipelines, tmp_path):
    """Return a .pt file of improved-diffusion."""
    torch.save(load_file(pipelines / "trained32.safetensors"), tmp_path / "ema_0.99_000500.pt")
    return tmp_path / "ema_0.99_000500.pt"


def open_model(source, *overrides):
    return open_source(load_model_study(str(source), overrides))


def test_a_checkpoint_folder(with_checkpoints):
    folder = seed_folder(with_checkpoints(), 0).checkpoint(8)
    source = open_model(folder, "analyze.weights=model")
    assert source.about[0] == "checkpoint of step 8 and seed 0, weights model"
    assert source.load_denoiser(CPU).shape == (1, 8, 8)
    with pytest.raises(UserError, match=r'contains no weights "ema_0\.9999", only'):
        open_model(folder)


def test_an_openai_state_dict(state_dict, trained32, relative_error):
    source = open_model(state_dict, *OPTIONS)
    assert "options: schedule=cosine, steps=4000" in source.about
    x_T = trained32["x_T"]
    assert relative_error(source.load_denoiser(CPU).output(x_T, 2000), trained32.denoiser.output(x_T, 2000)) == 0


def test_a_diffusers_pipeline(pipelines):
    source = open_model(pipelines / "ldm_vq")
    assert source.about == [
        "LDMPipeline of diffusers",
        "codes of 3 × 16 × 16",
        "1,000 diffusion steps, predicts ε, x_0 is not clipped",
    ]


def test_different_models_have_different_digests(state_dict, with_checkpoints):
    run = seed_folder(with_checkpoints(), 0)
    digests = {open_model(run.checkpoint(step), "analyze.weights=model").digest for step in (5, 8)}
    digests.add(open_model(state_dict, *OPTIONS).digest)
    weights = torch.load(state_dict)
    weights["out.2.bias"] += 1
    torch.save(weights, state_dict)
    assert len(digests | {open_model(state_dict, *OPTIONS).digest}) == 4


def test_options_of_an_openai_file_change_its_config(state_dict):
    cosine, linear = open_model(state_dict, *OPTIONS), open_model(state_dict, "openai.steps=4000")
    assert cosine.digest == linear.digest and cosine.config == linear.config | {"schedule": "cosine"} != linear.config


def test_unsupported_files_and_folders_are_rejected(tmp_path):
    (tmp_path / "notes.txt").write_text("no weights")
    with pytest.raises(UserError, match="is neither a checkpoint folder, a pipeline of diffusers nor"):
        open_model(tmp_path)
    with pytest.raises(UserError, match="cannot be read as a state dict"):
        open_model(tmp_path / "notes.txt")
    with pytest.raises(UserError, match=r"nowhere/model\.pt is neither an existing file or folder nor"):
        open_model("nowhere/model.pt")


def test_a_published_file_is_downloaded_once(monkeypatch, tmp_path):
    downloads = []

    def download(url, digest, folder, option):
        downloads.append((url, digest, str(folder), option))
        return folder / "file.pt"

    monkeypatch.setattr("models.source.download", download)
    study = load_model_study("cifar10_uncond_50M_500K.pt", [f"downloads={tmp_path}"])
    assert find_model(study) == tmp_path / "file.pt"
    assert downloads[0][0].startswith("https://") and downloads[0][0].endswith("/cifar10_uncond_50M_500K.pt")
    (tmp_path / "cifar10_uncond_50M_500K.pt").touch()
    assert (
        find_model(dataclasses.replace(study, source=str(tmp_path / "cifar10_uncond_50M_500K.pt"))).parent == tmp_path
    )
    assert len(downloads) == 1


def test_a_failed_download_from_the_hub_is_a_user_error(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"nobody/nothing is not a local file or folder and could not be downloaded"):
        open_model("nobody/nothing")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return a function that replaces the answers of the hub, and the folder of its cache."""
    http = importlib.import_module(type(huggingface_hub.get_session()).__module__.partition(".")[0])
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)

    def answer(handler) -> None:
        transport = http.MockTransport(lambda request: handler(http, request))
        huggingface_hub.set_client_factory(lambda: http.Client(transport=transport))

    yield answer, tmp_path / "cache"
    huggingface_hub.set_client_factory(huggingface_hub.utils._http.default_client_factory)


def test_a_cached_pipeline_is_opened_where_the_hub_does_not_answer(hub, pipelines):
    """Compute nodes of many clusters drop packets to other networks."""
    answer, cache = hub

    def time_out(http, request):
        raise http.ConnectTimeout("timed out", request=request)

    answer(time_out)
    repository, commit = cache / "models--CompVis--tiny", "0" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(pipelines / "ldm_vq", repository / "snapshots" / commit)
    assert open_model("CompVis/tiny").digest == open_model(str(pipelines / "ldm_vq")).digest
    with pytest.raises(UserError, match=r"CompVis/other .* could not be downloaded .*ConnectTimeout: no network, or"):
        open_model("CompVis/other")


def test_a_gated_pipeline_needs_its_license(hub):
    """Stable Diffusion 3 and FLUX exist, but an anonymous download is refused."""

    def refuse(http, request):
        if request.url.path.startswith("/api/models/"):
            info = {"id": "owner/gated", "sha": "0" * 40, "siblings": [{"rfilename": "model_index.json"}]}
            return http.Response(200, json=info, request=request)
        return http.Response(403, headers={"X-Error-Code": "GatedRepo"}, request=request)

    hub[0](refuse)
    with pytest.raises(UserError, match=r"accept the license .* https://huggingface.co/owner/gated, .* hf auth login"):
        open_model("owner/gated")


@pytest.mark.parametrize(
    "ddim_steps, message", [(1001, "1,001 DDIM steps exceed the 1,000"), (300, None), (1000, None), (10, None)]
)
def test_ddim_steps_are_limited_by_the_diffusion_steps(ddim_steps, message, pipelines):
    source = open_model(pipelines / "ldm_vq")
    if message is None:
        check_ddim_steps(source, ddim_steps)
        return
    with pytest.raises(UserError, match=message):
        check_ddim_steps(source, ddim_steps)


def test_the_offset_of_a_scheduler_limits_the_ddim_steps(tmp_path):
    """Stable Diffusion's timesteps have an offset of 1, so T = 1,000 would start at timestep 1,000."""
    tiny_pipeline("stable_diffusion").save_pretrained(tmp_path)
    source = open_model(tmp_path, "prompts=[a cat]")
    check_ddim_steps(source, 500)
    with pytest.raises(UserError, match="T = 1,000: the scheduler's spacing leads to timestep 1,000, which the model"):
        check_ddim_steps(source, 1000)


def test_steps_without_an_integer_stride_are_rejected(unet32):
    with pytest.raises(UserError, match="T = 300: no integer stride over 4000 steps gives 300"):
        check_ddim_steps(Source([], "", unet32.denoiser, lambda device, half=False: unet32.denoiser), 300)


def test_the_call_hook_gets_batch_sizes_and_does_not_change_the_output(unet32):
    batch_sizes = []
    x_T = unet32["x_T"]
    assert torch.equal(
        add_call_hook(unet32.denoiser, batch_sizes.append).output(x_T, 40), unet32.denoiser.output(x_T, 40)
    )
    assert batch_sizes == [len(x_T)]


def test_prompts_are_read_from_a_file(tmp_path):
    (tmp_path / "captions.txt").write_text("a cat\n\n  two dogs \n")
    options = [f"prompts_file={tmp_path}/captions.txt"]
    assert read_prompts(load_model_study("some/model", options)) == ["a cat", "two dogs"]
    with pytest.raises(UserError, match="prompts and prompts_file are both set"):
        read_prompts(load_model_study("some/model", [*options, "prompts=[a cat]"]))
    (tmp_path / "captions.txt").write_text("\n")
    with pytest.raises(UserError, match="contains no prompts; write one per line"):
        read_prompts(load_model_study("some/model", options))
    with pytest.raises(UserError, match=r"absent\.txt cannot be read"):
        read_prompts(load_model_study("some/model", ["prompts_file=absent.txt"]))
