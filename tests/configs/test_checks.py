"""Rejected configurations, and the checkpoint schedule."""

import dataclasses

import pytest

from configs.checks import checkpoint_steps, reachable_ddim_steps
from configs.errors import UserError
from configs.load import load, options
from configs.schema import Checkpoints, Stride

NUMBERS = [(key, field.metadata) for key, field in options() if field.metadata["at_least"] is not None]
LISTS = ("channel_mult", "attention_resolutions", "at", "ema_rates", "seeds", "labels", "inverter_nfe")


@pytest.fixture
def load_with(tmp_path):
    """Return a function that loads an empty file with overrides."""
    (tmp_path / "empty.yaml").touch()
    return lambda *overrides: load(tmp_path / "empty.yaml", overrides)


def override(key: str, value: float) -> str:
    return f"{key}=[{value}]" if key.rpartition(".")[2] in LISTS else f"{key}={value}"


@pytest.mark.parametrize("key, metadata", NUMBERS, ids=[key for key, _ in NUMBERS])
def test_number_below_its_range_is_rejected(key, metadata, load_with):
    value = metadata["at_least"] - 1
    with pytest.raises(UserError, match=f"{key}={value}.* is too small; it must be at least {metadata['at_least']}"):
        load_with(override(key, value))


@pytest.mark.parametrize("override", ["train.ema_rates=[1.0]", "model.dropout=1.0"])
def test_number_above_its_range_is_rejected(override, load_with):
    with pytest.raises(UserError, match=r"is too large; it must be at most 0\.99"):
        load_with(override)


@pytest.mark.parametrize("key", [key for key, field in options() if field.metadata["at_most"] is not None])
def test_absurd_number_is_rejected(key, load_with):
    """It would take minutes and gigabytes to check such numbers further."""
    with pytest.raises(UserError, match=f"{key}=1000000000.* is too large; it must be at most"):
        load_with(override(key, 10**9))


@pytest.mark.parametrize("value", [10**20, -(10**400)])
def test_number_beyond_64_bits_is_rejected(value, load_with):
    with pytest.raises(UserError, match=r"train\.steps is too large; it must fit into 64 bits"):
        load_with(f"train.steps={value}")


def test_schedule_of_too_many_checkpoints_is_rejected(load_with):
    with pytest.raises(UserError, match=r"train\.checkpoints schedules 1,000,000,004 checkpoints; choose .* 1,000,000"):
        load_with("train.steps=1000000000", "train.checkpoints.strides=[{every: 1}]")


def test_list_in_a_list_is_rejected(load_with):
    for key in ("seeds", "model.channel_mult", "train.checkpoints.at"):
        with pytest.raises(UserError, match=f"{key}=.* contains a list or a section; it must contain single values"):
            load_with(f"{key}=[[1]]")


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
def test_number_that_is_not_finite_is_rejected(value, load_with):
    with pytest.raises(UserError, match=r"train\.lr=.* is not a finite number"):
        load_with(f"train.lr={value}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.image_size=64"], r"32 pixels, not .*image_size=64; set .*=32, .*data\.name=folder"),
        (["data.name=imagenet64"], r"64 pixels, not .*=32; set model\.image_size=64"),
        (["model.in_channels=1"], r"cifar10 has 3 color channels, not .*=1; set model\.in_channels=3"),
        (["data.name=digits"], r"digits has 1 color channels, not .*=3; set model\.in_channels=1"),
        (["data.name=folder", "model.in_channels=4"], r"1 or 3 color channels, not model\.in_channels=4"),
        (["data.name=digits", "model.in_channels=1", "data.source=x"], r"data\.name=digits is part of scikit-learn"),
        (["train.loss=vlb", "diffusion.variance=fixed_large"], r"train\.loss=vlb trains the variance"),
        (
            ["train.gradient_accumulation_steps=5"],
            r"train\.batch_size=128 is not divisible by train\.gradient_accumulation_steps=5; choose",
        ),
        ([f"name={'é' * 60}"], r"name=é+ is too long for folders; set a name= of at most 100 bytes"),
        (["name='<b>'"], r'name="<b>" is not a folder name'),
        (["name=\u202egnp"], r"is not a folder name"),
        (["name=../elsewhere"], r'name="\.\./elsewhere" is not a folder name'),
        (["train.ema_rates=[0.9999,0.9999]"], r"train\.ema_rates=.* contains duplicates"),
        (
            ["diffusion.schedule=linear", "diffusion.steps=20"],
            r"diffusion\.schedule=linear is not defined for diffusion\.steps=20, .* set it to more than 20",
        ),
        (
            ["analyze.ddim_steps=99"],
            r"analyze\.ddim_steps=99 is not .* integer stride.*diffusion\.steps=4000.*96, 98, 100, 103",
        ),
        (
            ["analyze.ddim_steps=20", "diffusion.steps=30"],
            r"analyze\.ddim_steps=20 is not .* the nearest values are 8, 10, 15, 30",
        ),
        (
            ["analyze.samples=20", "analyze.measures.knn_k=20"],
            r"analyze\.measures\.knn_k=20 is not smaller than analyze\.samples=20",
        ),
        (["train.checkpoints={at: [], strides: []}"], r"train\.checkpoints contains only .*train\.checkpoints\.at"),
        (["train.checkpoints={at: [900], strides: []}", "train.steps=800"], r"train\.checkpoints contains only .*800"),
        (["train.checkpoints.strides=[{every: 0}]"], r"train\.checkpoints\.strides\.every=0 is too small"),
        (["train.checkpoints.strides=[{until: 30}]"], r"every"),
        (["analyze.weights=ema_0.5"], r'analyze\.weights="ema_0\.5" .* choose from model, ema_0\.9999'),
        (["model.image_size=12"], r"model\.image_size=12 cannot be halved .*\[1, 2, 2, 2\]"),
        ([f"model.channel_mult={[1] * 2000}"], r"model\.image_size=32 cannot be halved"),
        (["model.channel_mult=[]"], r"model\.image_size=32 cannot be halved .*\[\]"),
        (["model.attention_resolutions=[7]"], r"model\.attention_resolutions: .* side length 7; .* 32, 16, 8, 4"),
        (["model.channel_mult=[0.3,1]", "model.attention_resolutions=[]"], r"38 channels are not a multiple .*=32"),
        (
            ["model.channel_mult=[0.25,1,1,1]", "model.attention_resolutions=[32]", "model.num_heads=64"],
            r"64 .* 32 channels",
        ),
        (["model.num_head_channels=96"], r"model\.num_head_channels=96 does not divide 256 channels"),
        (["model.use_fp16=true"], r"model\.use_fp16=true is only for sampling; .* train\.precision=fp16"),
        (["model.norm_groups=7"], r"model\.model_channels=128 is not a multiple of model\.norm_groups=7"),
        (["model.num_heads=3"], r"3 attention heads do not divide model\.model_channels=128"),
        (["model.num_heads_upsample=5"], r"5 attention heads do not divide model\.model_channels=128"),
        (
            ["cluster.gpus_per_node=2", "cluster.processes_per_node=4"],
            r"cluster\.processes_per_node=4 is more than cluster\.gpus_per_node=2; set .*=2 or less, or more GPUs",
        ),
        (["seeds=[]"], "seeds is empty"),
        (["seeds=[3,1,3]"], r"seeds=\[3, 1, 3\] contains duplicates"),
    ],
)
def test_impossible_configuration_is_rejected_in_one_sentence(overrides, message, load_with):
    with pytest.raises(UserError, match=message) as error:
        load_with(*overrides)
    assert "\n" not in str(error.value)


def test_reachable_ddim_steps_result_from_integer_strides():
    assert reachable_ddim_steps(10) == {10, 5, 4, 3, 2}
    assert {2, 10, 50, 100, 4000} <= reachable_ddim_steps(4000)


def test_default_checkpoint_schedule_is_that_of_the_paper():
    """0, 5, 10, 25; every 50 to 400; every 390 to 39,000; every 2,500 to 700,000."""
    expected = {0, 5, 10, 25, *range(50, 401, 50), *range(780, 39_001, 390), *range(40_000, 700_001, 2_500)}
    assert checkpoint_steps(Checkpoints(), 700_000) == sorted(expected)


@pytest.mark.parametrize("last", [0, 1, 25, 26, 399, 400, 401, 779, 780, 39_000, 39_001, 40_000, 41_000, 100_000])
def test_longer_training_has_the_same_checkpoints_apart_from_the_last(last):
    """Therefore training can be extended."""
    short, long = checkpoint_steps(Checkpoints(), last), checkpoint_steps(Checkpoints(), 700_000)
    assert short == [step for step in long if step < last] + [last]


def test_checkpoint_steps_are_sorted_and_unique():
    """Steps and strides may overlap and be in any order; steps after the end are dropped."""
    checkpoints = Checkpoints(at=[30, 7, 10, 7, 99], strides=[Stride(10, 30)])
    assert checkpoint_steps(checkpoints, 45) == [7, 10, 20, 30, 45]
    assert checkpoint_steps(checkpoints, 25) == [7, 10, 20, 25]
    assert checkpoint_steps(dataclasses.replace(checkpoints, strides=[]), 30) == [7, 10, 30]


def test_stride_starts_at_its_first_multiple_after_the_previous_stride():
    checkpoints = Checkpoints(at=[], strides=[Stride(4, 10), Stride(3, 20), Stride(10)])
    assert checkpoint_steps(checkpoints, 45) == [4, 8, 12, 15, 18, 30, 40, 45]
