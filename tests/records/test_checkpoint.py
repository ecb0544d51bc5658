"""Checkpoints round-trip bit for bit, and damaged ones are reported."""

import json

import pytest
import torch

from configs.errors import UserError
from configs.schema import Diffusion, Model
from models.open import open_checkpoint
from models.unet import UNet
from records import checkpoint
from records.atomic import write_json
from records.checkpoint import DamagedCheckpoint
from records.sealed import read_sealed, write_sealed

MODEL = Model(
    image_size=8, model_channels=8, channel_mult=[1, 2], num_res_blocks=1, attention_resolutions=[4], norm_groups=4
)
DIFFUSION = Diffusion(schedule="linear", steps=100, variance="fixed_small", rescale_timesteps=False)
WEIGHTS = {
    "a.weight": torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).T,  # not contiguous
    "a.bias": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "scalar": torch.tensor(7),
}


@pytest.fixture
def folder(tmp_path):
    """Checkpoint folder of step 25 of seed 10."""
    path = tmp_path / "checkpoints" / "000000025"
    averages = {key: value + 1 for key, value in WEIGHTS.items()}
    checkpoint.write(path, 25, 10, MODEL, DIFFUSION, {"model": WEIGHTS, "ema_0.99": averages})
    return path


def bits(tensor: torch.Tensor) -> tuple:
    return tensor.dtype, tensor.shape, tensor.contiguous().flatten().view(torch.uint8).tolist()


def test_weights_round_trip_bit_for_bit(folder):
    read = checkpoint.read(folder)
    for name, added in [("model", 0), ("ema_0.99", 1)]:
        weights = read.weights(name)
        assert weights.keys() == WEIGHTS.keys()
        assert all(bits(weights[key]) == bits(WEIGHTS[key] + added if added else WEIGHTS[key]) for key in WEIGHTS)


def test_description_round_trips(folder):
    read = checkpoint.read(folder)
    assert (read.path, read.step, read.seed, read.model, read.diffusion) == (folder, 25, 10, MODEL, DIFFUSION)
    assert read.digests.keys() == {"model", "ema_0.99"}


def test_folder_contains_weights_and_description_with_versions(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.json",
        "ema_0.99.safetensors",
        "model.safetensors",
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["000000025"]
    versions = json.loads((folder / "checkpoint.json").read_text())["versions"]
    assert versions["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_missing_weights_are_reported_with_the_available_ones(folder):
    with pytest.raises(UserError, match=r'no weights "ema_0\.5", only model, ema_0\.99') as error:
        checkpoint.read(folder).weights("ema_0.5")
    assert str(folder) in str(error.value)


def cut_off(file):
    file.write_bytes(file.read_bytes()[:-1])


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [cut_off, flip_a_bit, lambda file: file.unlink()], ids=["cut_off", "flipped_bit", "removed"]
)
def test_damaged_weights_are_rejected(damage, folder):
    file = folder / "model.safetensors"
    damage(file)
    with pytest.raises(DamagedCheckpoint) as error:
        checkpoint.read(folder).weights("model")
    assert str(error.value).startswith(str(file))
    assert checkpoint.read(folder).weights("ema_0.99").keys() == WEIGHTS.keys()  # other weights are readable


@pytest.mark.parametrize("content", [None, b"", b'{"step": 1', b"[]", b"null", b"\xff\xfe", b"{}"])
def test_missing_or_invalid_description_is_rejected(content, folder):
    file = folder / "checkpoint.json"
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(DamagedCheckpoint) as error:
        checkpoint.read(folder)
    assert str(error.value).startswith(str(file))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", None),
        ("seed", "zero"),
        ("digests", None),
        ("model", None),
        ("model", 5),
        ("model", {}),  # must not become a network with default options
        ("model", {"channels": 8}),
        ("diffusion", {"schedule": "cubic"}),
    ],
)
def test_description_with_wrong_types_is_rejected(key, value, folder):
    file = folder / "checkpoint.json"
    write_sealed(file, read_sealed(file) | {key: value})
    with pytest.raises(DamagedCheckpoint) as error:
        checkpoint.read(folder)
    assert str(error.value).startswith(str(file))


@pytest.mark.parametrize(
    ("section", "option", "value"),
    [
        ("model", "model_channels", 10**9),
        ("model", "num_res_blocks", 10**9),
        ("model", "channel_mult", [1] * 5_000),
        ("model", "norm_groups", 0),
        ("diffusion", "steps", 10**12),
    ],
)
def test_description_of_an_absurd_network_is_rejected_before_anything_is_allocated(section, option, value, folder):
    file = folder / "checkpoint.json"
    content = read_sealed(file)
    write_sealed(file, content | {section: content[section] | {option: value}})
    with pytest.raises(DamagedCheckpoint, match=r"checkpoint\.json is damaged: .*\."):
        checkpoint.read(folder)


def test_a_changed_digit_of_the_description_is_noticed(folder):
    file = folder / "checkpoint.json"
    content = file.read_text(encoding="utf-8")
    file.write_text(content.replace('"num_heads": ', '"num_heads": 1'), encoding="utf-8")
    with pytest.raises(DamagedCheckpoint, match=r"checkpoint\.json is damaged: its digest does not match its content"):
        checkpoint.read(folder)


def test_a_description_of_an_earlier_version_has_no_digest(folder):
    file, opened = folder / "checkpoint.json", checkpoint.read(folder)
    write_json(file, read_sealed(file))
    assert checkpoint.read(folder) == opened


@pytest.mark.parametrize("content", ['{"step": Infinity}', "[" * 100_000])
def test_description_that_json_accepts_partly_is_rejected(content, folder):
    (folder / "checkpoint.json").write_text(content)
    with pytest.raises(DamagedCheckpoint, match=r"checkpoint\.json is damaged"):
        checkpoint.read(folder)


def test_network_larger_than_its_weights_is_rejected_before_anything_is_allocated(folder):
    file = folder / "checkpoint.json"
    content = read_sealed(file)
    write_sealed(file, content | {"model": content["model"] | {"model_channels": 65_536}})
    with pytest.raises(UserError, match="does not fit the network"):
        open_checkpoint(folder, "model", torch.device("cpu"))


def test_description_without_newer_options_describes_the_same_model(folder):
    """The defaults of newer options do not change the network."""
    file = folder / "checkpoint.json"
    content = read_sealed(file)
    for option in ("num_head_channels", "use_new_attention_order", "conv_resample", "resblock_updown", "use_fp16"):
        del content["model"][option]
    write_sealed(file, content)
    assert checkpoint.read(folder).model == MODEL


@pytest.mark.parametrize(("section", "option"), [("model", "num_heads"), ("diffusion", "steps")])
def test_description_without_a_required_option_is_rejected(section, option, folder):
    file = folder / "checkpoint.json"
    content = read_sealed(file)
    del content[section][option]
    write_sealed(file, content)
    with pytest.raises(DamagedCheckpoint, match=f"has no {option}"):
        checkpoint.read(folder)


def test_open_checkpoint_returns_a_denoiser_with_the_same_outputs(tmp_path):
    network = UNet.from_config(MODEL, DIFFUSION)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    checkpoint.write(tmp_path / "000000000", 0, 0, MODEL, DIFFUSION, {"model": network.state_dict()})
    denoiser = open_checkpoint(tmp_path / "000000000", "model", torch.device("cpu"))
    x_t = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(denoiser.output(x_t, 40), network.eval()(x_t, torch.tensor([40.0, 40.0])))
    assert denoiser.shape == (3, 8, 8) and len(denoiser.levels) == 100


def test_weights_of_another_network_are_rejected(folder):
    with pytest.raises(UserError, match=f"{folder}/model does not fit the network") as error:
        open_checkpoint(folder, "model", torch.device("cpu"))
    assert "\n" not in str(error.value)
