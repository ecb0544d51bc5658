"""DINO's similarity through a tiny network of its kind, and what is said where it cannot be had."""

import importlib
import sys
import time

import pytest
import torch

from analyze.measures.dino import CROP, IMAGES_AT_ONCE, MEAN, STD, dino, prepared
from analyze.measures.unavailable import Unavailable
from configs.errors import UserError

module = importlib.import_module("analyze.measures.dino")  # the package has the function by this name


@pytest.fixture(autouse=True)
def nothing_is_loaded_yet():
    module._model.cache_clear()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The folder of a random vision transformer of 224 pixels."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(**sizes, patch_size=56, initializer_range=1.0)
    folder = tmp_path_factory.mktemp("vit")
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def test_an_image_is_like_itself(tiny, drawn):
    samples = drawn(5).clamp(-1, 1)
    assert dino(samples, samples, dino_model=str(tiny)).mean == pytest.approx(1, abs=1e-6)


def test_the_mean_is_over_all_images(tiny, drawn):
    """Also where they are more than are taken at once, and do not fill the last turn."""
    n = IMAGES_AT_ONCE + 2
    samples, last = drawn(n).clamp(-1, 1), drawn(n).clamp(-1, 1)
    single = [dino(samples[i : i + 1], last[i : i + 1], dino_model=str(tiny)).mean for i in range(n)]
    found = dino(samples, last, dino_model=str(tiny)).mean
    assert found == pytest.approx(sum(single) / n, abs=1e-6)
    assert max(single) - min(single) > 1e-3 and found < 0.999


def test_the_cosine_is_of_the_first_token(tiny, drawn):
    import transformers

    model = transformers.ViTModel.from_pretrained(tiny, add_pooling_layer=False).eval()
    samples, last = drawn(3).clamp(-1, 1), drawn(3).clamp(-1, 1)
    with torch.no_grad():
        a, b = (model(pixel_values=prepared(x)).last_hidden_state[:, 0] for x in (samples, last))
    expected = ((a * b).sum(dim=1) / a.norm(dim=1) / b.norm(dim=1)).mean().item()
    assert dino(samples, last, dino_model=str(tiny)).mean == pytest.approx(expected, abs=1e-6)


def test_grey_images_are_shown_in_colour(tiny, drawn):
    grey = drawn(3)[:, :1].clamp(-1, 1)
    assert prepared(grey).shape == (3, 3, CROP, CROP)
    assert dino(grey, grey.repeat(1, 3, 1, 1), dino_model=str(tiny)).mean == pytest.approx(1, abs=1e-6)


def test_what_it_is_shown():
    """Brightness by ImageNet's mean and std, within what a picture can hold; the middle of the enlarged image."""
    for value, brightness in ((-1.0, 0.0), (0.0, 0.5), (1.0, 1.0), (7.0, 1.0)):
        shown = prepared(torch.full((1, 3, 32, 32), value))
        expected = [(brightness - mean) / std for mean, std in zip(MEAN, STD, strict=True)]
        assert shown.amin(dim=(0, 2, 3)).tolist() == pytest.approx(expected, abs=1e-5)
        assert shown.amax(dim=(0, 2, 3)).tolist() == pytest.approx(expected, abs=1e-5)
    frame = torch.nn.functional.pad(torch.zeros(1, 3, 30, 30), (1, 1, 1, 1), value=1.0)
    assert prepared(frame)[0, 0, 20, 20] == prepared(torch.zeros(1, 3, 32, 32))[0, 0, 20, 20]
    assert prepared(frame)[0, 0, 0, 100] < prepared(torch.ones(1, 3, 32, 32))[0, 0, 0, 100]  # 16 of 256 are cut off


def test_images_are_enlarged_as_pillow_does_it(drawn):
    from PIL import Image

    levels = ((drawn(1)[0] + 1) / 2).clamp(0, 1).mul(255).round().to(torch.uint8)
    resized = Image.fromarray(levels.permute(1, 2, 0).numpy()).resize((256, 256), Image.Resampling.BICUBIC)
    expected = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8).reshape(256, 256, 3)[16:240, 16:240]
    shown = prepared(levels[None].float() / 127.5 - 1)[0]
    found = shown * torch.tensor(STD).reshape(3, 1, 1) + torch.tensor(MEAN).reshape(3, 1, 1)
    assert (found.permute(1, 2, 0) * 255 - expected).abs().max() < 1.25  # levels; it rounds twice


def test_without_transformers_the_extra_is_named(drawn, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(Unavailable, match=r"pip install noisemap\[dino\]") as failure:
        dino(drawn(2), drawn(2), dino_model="anything")
    assert isinstance(failure.value, UserError)


def test_without_a_network_the_model_is_named_at_once(drawn, monkeypatch):
    pytest.importorskip("transformers")

    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    monkeypatch.setattr("socket.socket.connect", unreachable)
    for _ in range(2):
        start = time.monotonic()
        with pytest.raises(
            Unavailable, match=r"noisemap-tests/none of DINO cannot be had .*analyze\.measures\.dino_model"
        ):
            dino(drawn(2), drawn(2), dino_model="noisemap-tests/none")
        took_s = time.monotonic() - start
    assert took_s < 0.5, "asked for a second time"


def test_a_missing_folder_is_named(tmp_path, drawn):
    pytest.importorskip("transformers")
    with pytest.raises(Unavailable, match="nowhere of DINO cannot be had"):
        dino(drawn(2), drawn(2), dino_model=str(tmp_path / "nowhere"))


def test_a_folder_without_weights_is_named(tiny, tmp_path, drawn):
    (tmp_path / "config.json").write_bytes((tiny / "config.json").read_bytes())
    with pytest.raises(Unavailable, match=r"cannot be had \(.*model\.safetensors"):
        dino(drawn(2), drawn(2), dino_model=str(tmp_path))


def test_weights_of_another_kind_are_refused(tmp_path, drawn):
    """transformers would fill what it does not find with random numbers."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(Unavailable, match="DINO"):
        dino(drawn(2), drawn(2), dino_model=str(tmp_path))


def test_latent_images_are_refused():
    with pytest.raises(Unavailable, match="these have 4"):
        dino(torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 8, 8), dino_model="anything")


def test_the_last_images_are_looked_at_once(tiny, drawn, monkeypatch):
    """However many checkpoints are compared with them, each of which reads them anew."""
    looked = []
    look = module.prepared
    monkeypatch.setattr(module, "prepared", lambda images: looked.append(len(images)) or look(images))
    last = drawn(3).clamp(-1, 1)
    for _ in range(4):
        dino(drawn(2).clamp(-1, 1)[[0, 1, 1]], last.clone(), dino_model=str(tiny))
    assert len(looked) == 4 + 1


def test_the_network_is_loaded_once(tiny, drawn, monkeypatch):
    loads = []
    load = module._load
    monkeypatch.setattr(module, "_load", lambda *arguments: loads.append(arguments) or load(*arguments))
    for _ in range(3):
        dino(drawn(2), drawn(2), dino_model=str(tiny))
    assert len(loads) == 1
