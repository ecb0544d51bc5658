"""DINO similarity with a tiny vision transformer, and the errors if the model is not available."""

import gc
import importlib
import importlib.util
import sys
import time
import weakref

import pytest
import torch

from analyze.measures.dino import CROP, IMAGES_AT_ONCE, MEAN, STD, dino, dino_requirements, preprocess
from analyze.measures.unavailable import Unavailable
from configs.errors import UserError
from configs.schema import Measures

module = importlib.import_module("analyze.measures.dino")  # in the package, this name is the function


@pytest.fixture(autouse=True)
def clear_model_cache():
    """Forget the model loaded by an earlier test."""
    module._model.cache_clear()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Return the folder of a random vision transformer for 224 pixels."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(**sizes, patch_size=56, initializer_range=1.0)
    folder = tmp_path_factory.mktemp("vit")
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def test_weights_are_found_in_a_folder_or_in_the_cache_of_the_hub(tiny, tmp_path, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    files = [tmp_path / "models--some--vit" / name for name in ("refs/main", "snapshots/1f0c/model.safetensors")]
    names = [str(tiny), "/absent", "some/vit", "some/other"]

    def ready() -> list[bool]:
        return [dino_requirements(Measures(dino_model=name), None)["weights"] for name in names]

    assert ready() == [True, False, False, False]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text("1f0c")
    assert ready() == [True, False, True, False]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert ready() == [False] * 4


def test_an_image_has_similarity_1_to_itself(tiny, random_images):
    samples = random_images(5).clamp(-1, 1)
    assert dino(samples, samples, dino_model=str(tiny)).mean == pytest.approx(1, abs=1e-6)


def test_the_mean_covers_every_batch(tiny, random_images):
    """The number of images is not a multiple of the batch size."""
    n = IMAGES_AT_ONCE + 2
    samples, last = random_images(n).clamp(-1, 1), random_images(n).clamp(-1, 1)
    single = [dino(samples[i : i + 1], last[i : i + 1], dino_model=str(tiny)).mean for i in range(n)]
    result = dino(samples, last, dino_model=str(tiny)).mean
    assert result == pytest.approx(sum(single) / n, abs=1e-6)
    assert max(single) - min(single) > 1e-3 and result < 0.999


def test_features_come_from_the_first_token(tiny, random_images):
    import transformers

    model = transformers.ViTModel.from_pretrained(tiny, add_pooling_layer=False).eval()
    samples, last = random_images(3).clamp(-1, 1), random_images(3).clamp(-1, 1)
    with torch.no_grad():
        a, b = (model(pixel_values=preprocess(x)).last_hidden_state[:, 0] for x in (samples, last))
    expected = ((a * b).sum(dim=1) / a.norm(dim=1) / b.norm(dim=1)).mean().item()
    assert dino(samples, last, dino_model=str(tiny)).mean == pytest.approx(expected, abs=1e-6)


def test_gray_images_are_repeated_over_three_channels(tiny, random_images):
    gray = random_images(3)[:, :1].clamp(-1, 1)
    assert preprocess(gray).shape == (3, 3, CROP, CROP)
    assert dino(gray, gray.repeat(1, 3, 1, 1), dino_model=str(tiny)).mean == pytest.approx(1, abs=1e-6)


def test_preprocess_clamps_normalizes_and_crops():
    """Brightness is clamped and normalized with ImageNet's mean and std; the resized image is cropped to its center."""
    for value, brightness in ((-1.0, 0.0), (0.0, 0.5), (1.0, 1.0), (7.0, 1.0)):
        shown = preprocess(torch.full((1, 3, 32, 32), value))
        expected = [(brightness - mean) / std for mean, std in zip(MEAN, STD, strict=True)]
        assert shown.amin(dim=(0, 2, 3)).tolist() == pytest.approx(expected, abs=1e-5)
        assert shown.amax(dim=(0, 2, 3)).tolist() == pytest.approx(expected, abs=1e-5)
    frame = torch.nn.functional.pad(torch.zeros(1, 3, 30, 30), (1, 1, 1, 1), value=1.0)
    framed, gray, white = (preprocess(x)[0, 0] for x in (frame, torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)))
    assert framed[20, 20] == gray[20, 20]
    assert framed[0, 100] < white[0, 100]  # the crop removes 16 of 256 pixels on each side


def test_resizing_matches_pillow(random_images):
    from PIL import Image

    levels = ((random_images(1)[0] + 1) / 2).clamp(0, 1).mul(255).round().to(torch.uint8)
    resized = Image.fromarray(levels.permute(1, 2, 0).numpy()).resize((256, 256), Image.Resampling.BICUBIC)
    expected = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8).reshape(256, 256, 3)[16:240, 16:240]
    shown = preprocess(levels[None].float() / 127.5 - 1)[0]
    result = shown * torch.tensor(STD).reshape(3, 1, 1) + torch.tensor(MEAN).reshape(3, 1, 1)
    assert (result.permute(1, 2, 0) * 255 - expected).abs().max() < 1.25  # in levels; Pillow rounds twice


def test_without_transformers_the_message_names_the_extra(random_images, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(Unavailable, match=r"pip install -e '\.\[dino\]'") as failure:
        dino(random_images(2), random_images(2), dino_model="anything")
    assert isinstance(failure.value, UserError)


def test_a_failure_keeps_no_images_in_memory(random_images, monkeypatch):
    """Its reason is cached, which must not include the traceback."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    samples = random_images(2)
    with pytest.raises(Unavailable):
        dino(samples, samples, dino_model="anything")
    kept = weakref.ref(samples)
    del samples
    gc.collect()
    assert kept() is None


def test_without_a_connection_the_message_names_the_model_at_once(random_images, monkeypatch):
    pytest.importorskip("transformers")

    def unreachable(*_, **__):
        raise OSError("no connection")

    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    monkeypatch.setattr("socket.socket.connect", unreachable)
    for _ in range(2):
        start = time.monotonic()
        with pytest.raises(
            Unavailable, match=r"weights noisemap-tests/none are not available .*analyze\.measures\.dino_model"
        ):
            dino(random_images(2), random_images(2), dino_model="noisemap-tests/none")
        took_s = time.monotonic() - start
    assert took_s < 0.5, "queried the hub a second time"


def test_the_message_names_a_missing_folder(tmp_path, random_images):
    pytest.importorskip("transformers")
    with pytest.raises(Unavailable, match="nowhere are not available"):
        dino(random_images(2), random_images(2), dino_model=str(tmp_path / "nowhere"))


def test_the_message_names_missing_weights(tiny, tmp_path, random_images):
    (tmp_path / "config.json").write_bytes((tiny / "config.json").read_bytes())
    with pytest.raises(Unavailable, match=r"not available \(.*model\.safetensors"):
        dino(random_images(2), random_images(2), dino_model=str(tmp_path))


def test_weights_of_another_architecture_are_refused(tmp_path, random_images):
    """`from_pretrained` would initialize missing weights randomly."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(Unavailable, match="DINO"):
        dino(random_images(2), random_images(2), dino_model=str(tmp_path))


def test_latent_images_are_refused():
    with pytest.raises(Unavailable, match="these have 4"):
        dino(torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 8, 8), dino_model="anything")


def test_features_of_the_last_images_are_computed_once(tiny, random_images, monkeypatch):
    """Every checkpoint passes its own copy of the last checkpoint's images."""
    calls = []
    monkeypatch.setattr(module, "preprocess", lambda images: calls.append(len(images)) or preprocess(images))
    last = random_images(3).clamp(-1, 1)
    for _ in range(4):
        dino(random_images(2).clamp(-1, 1)[[0, 1, 1]], last.clone(), dino_model=str(tiny))
    assert len(calls) == 4 + 1


def test_the_model_is_loaded_once(tiny, random_images, monkeypatch):
    loads = []
    load = module._load
    monkeypatch.setattr(module, "_load", lambda *arguments: loads.append(arguments) or load(*arguments))
    for _ in range(3):
        dino(random_images(2), random_images(2), dino_model=str(tiny))
    assert len(loads) == 1
