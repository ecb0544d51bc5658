"""Readers of networks: state dicts, checkpoints, training states, pipelines of diffusers."""

import dataclasses
import functools
import io
import json
import pickle
import struct
import tempfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel
from fuzz.mutations import TEXTS, damaged_bytes, damaged_zip, dumps, write_zip
from fuzz.reader import Executed, Reader, Tree, by_name
from fuzz.study_readers import CONFIGS, TINY
from hypothesis import strategies as st
from safetensors.torch import save as to_safetensors
from torch import Tensor

from configs.load import load
from configs.schema import Diffusion, Model
from models.open import open_checkpoint
from models.source import check_ddim_steps, open_model
from models.unet import UNet
from records import checkpoint
from records.layout import SeedFolder, seed_folder
from records.sealed import DIGEST
from train.accelerator import new_accelerator
from train.signals import SignalFlags
from train.trainer import Trainer

CPU = torch.device("cpu")
MODEL = Model(
    image_size=8,
    in_channels=1,
    model_channels=32,
    channel_mult=[1],
    num_res_blocks=1,
    attention_resolutions=[],
    num_heads=1,
)
DIFFUSION = Diffusion(schedule="linear", steps=30)


@functools.cache
def weights() -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {name: value.detach() for name, value in UNet.from_config(MODEL, DIFFUSION).state_dict().items()}


# --- state dicts


def write_pt(folder: Path) -> None:
    torch.save(weights(), folder / "model.pt")


def write_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(to_safetensors(weights()))


def read_weights(folder: Path) -> None:
    for file in folder.iterdir():
        open_model(str(file), "openai.image_size=8", "openai.num_heads=1", "openai.steps=30")


def saved(content: Any, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


SHAPES = [(), (0,), (1,), (2, 3), (10**6, 10**6), (2**31, 2, 2, 2), (1, 0, 2**40)]


@st.composite
def damaged_state_dict(draw: Callable, data: bytes, save: Callable[[dict], bytes] = saved) -> bytes:
    """Exchange, rename, remove or add a tensor; large ones have a single stored value."""
    tensors: dict[Any, Any] = dict(weights())
    name = draw(st.sampled_from(sorted(tensors)))
    action = draw(st.sampled_from(["tensor", "dtype", "rename", "remove", "add", "block"]))
    if action == "tensor":
        tensors[name] = torch.zeros(()).expand(draw(st.sampled_from(SHAPES)))
    elif action == "dtype":
        kinds = [torch.bool, torch.int64, torch.float64, torch.float16, torch.bfloat16, torch.complex64]
        tensors[name] = tensors[name].to(draw(st.sampled_from(kinds)))
    elif action == "rename":
        tensors[draw(st.sampled_from(TEXTS))] = tensors.pop(name)
    elif action == "remove":
        del tensors[name]
    elif action == "add":
        tensors[draw(st.one_of(st.sampled_from(TEXTS), st.integers(), st.none()))] = draw(
            st.sampled_from([torch.zeros(2), 1, "x", None, [], {}])
        )
    else:
        side, index = draw(st.sampled_from(["input", "output"])), draw(st.sampled_from([-1, 2, 99, 10**12, 10**30]))
        tensors[f"{side}_blocks.{index}.0.in_layers.0.weight"] = torch.zeros(32)
    return save(tensors)


def damaged_pt(data: bytes) -> st.SearchStrategy[bytes]:
    return st.one_of(damaged_state_dict(data), damaged_zip(data), damaged_bytes(data))


def hostile_pt(tree: Tree, executed: Path) -> Iterator[Tree]:
    """Yield pickles that call functions, in every format that torch.load reads, and unusual tensors."""
    call = Executed(executed)
    contents = [saved(call), saved(call, zipped=False), pickle.dumps(call), saved({**weights(), "x": call})]
    contents += [saved({"x": call}, zipped=False), write_zip([("archive/data.pkl", pickle.dumps(call, 2))])]
    contents += [saved(weights(), zipped=False), saved(list(weights())), saved(None), saved({}), saved(3)]
    names = ["time_embed.0.weight", "input_blocks.0.0.weight", "out.2.weight"]
    for name in names:
        large = torch.zeros(1).expand(10**6, 10**6, 3, 3)
        tensors: list[Any] = [large, torch.zeros(2, 2).to_sparse(), torch.empty(2, device="meta"), torch.tensor([1j])]
        tensors += [torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8), torch.zeros(0), torch.tensor(1.0)]
        contents += [saved({**weights(), name: tensor}) for tensor in tensors]
    contents += [saved({**weights(), f"output_blocks.{10**12}.0.x": torch.zeros(1)})]
    contents += [b"\x80\2" + opcodes for opcodes in PICKLES]
    contents += [write_zip([("a/data.pkl", b"\x80\2" + opcodes), ("a/version", b"3\n")]) for opcodes in PICKLES]
    yield from ({"model.pt": content} for content in contents)
    yield from ({"model.safetensors": content} for content in contents[:6])


PICKLES = [
    b"Nr" + struct.pack("<I", 2**32 - 2) + b".",
    b"\x8e" + struct.pack("<Q", 2**62) + b".",
    b"\x95" + struct.pack("<Q", 2**63) + b"N.",
    b"}N" + b"\x85" * 200_000 + b"Ns.",
    b"]" * 100_000 + b"a" * 99_999 + b".",
    b"(" * 1_000_000,
    b"ctorch\nzeros\nJ" + struct.pack("<i", 2**31 - 1) + b"\x85R.",
    b"cbuiltins\nbytearray\n\x8a\5\0\0\0\0\4\x85R.",
    b"ctorch._utils\n_rebuild_tensor_v2\n(NK\0(J" + struct.pack("<i", 2**31 - 1) + b"t(K\1tNNtR.",
]


def hostile_safetensors(tree: Tree, executed: Path) -> Iterator[Tree]:
    """Yield headers with absurd sizes, shapes and offsets."""
    sizes = [0, 1, 2**20, 2**31, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1]
    yield from ({"model.safetensors": struct.pack("<Q", size) + b"{}"} for size in sizes)
    for entry in (
        {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [0, 2**40], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [2**63, 2**63 + 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F999", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]},
        {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1] * 1000, "data_offsets": [0, 4]},
    ):
        header = dumps({"input_blocks.0.0.weight": entry})
        yield {"model.safetensors": struct.pack("<Q", len(header)) + header + bytes(4)}
    names = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
    yield {"model.safetensors": struct.pack("<Q", len(dumps(names))) + dumps(names)}


# --- checkpoints


def write_checkpoint(folder: Path) -> None:
    model = dataclasses.replace(MODEL, model_channels=4, norm_groups=2)
    network = UNet.from_config(model, DIFFUSION)
    tensors = {name: value.detach() for name, value in network.state_dict().items()}
    checkpoint.write(folder / "saved", 5, 0, model, DIFFUSION, {"model": tensors, "ema_0.99": tensors})


def read_checkpoint(folder: Path) -> None:
    open_checkpoint(folder / "saved", "ema_0.99", CPU)
    open_model(str(folder / "saved"), "analyze.weights=model")


def repair_checkpoint(tree: Tree) -> Tree:
    """Store the digests of the weights files and remove that of checkpoint.json, as far as it can be read."""
    try:
        content = json.loads(tree["saved/checkpoint.json"])
        content.pop(DIGEST, None)
        for name in content["digests"]:
            content["digests"][name] = sha256(tree[f"saved/{name}.safetensors"]).hexdigest()
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        return tree
    return tree | {"saved/checkpoint.json": dumps(content)}


def hostile_checkpoints(tree: Tree, executed: Path) -> Iterator[Tree]:
    """Yield checkpoints of absurd networks, and of other versions."""
    content = json.loads(tree["saved/checkpoint.json"])
    del content[DIGEST]
    for section, options in (("model", content["model"]), ("diffusion", content["diffusion"])):
        for option in options:
            for value in (None, -1, 0, 10**9, 10**30, float("inf"), "x", [], [10**9], [1] * 10_000, {}):
                yield tree | {"saved/checkpoint.json": dumps(content | {section: options | {option: value}})}
    yield tree | {"saved/checkpoint.json": dumps(content | {"future": {"x": 1}})}
    yield tree | {"saved/checkpoint.json": dumps(content | {"model": content["model"] | {"future": 1}})}
    names = {"../escaped": "0", "model": "0"}
    yield tree | {"saved/checkpoint.json": dumps(content | {"digests": names})}


# --- training states


@functools.cache
def trainer() -> Trainer:
    """Return a training at its beginning, which reads states of any folder."""
    folder = tempfile.mkdtemp()
    options = [
        *TINY,
        "analyze.measures.dino_model=null",
        f"runs={folder}",
        f"data.root={folder}",
        "wandb.mode=disabled",
    ]
    experiment = load(CONFIGS / "digits.yaml", options)
    return Trainer(experiment, seed_folder(experiment, 0), new_accelerator("fp32"), SignalFlags())


def write_state(folder: Path) -> None:
    training = trainer()
    training.folder = SeedFolder(folder)
    training._save_state()
    training.writer.wait()


def read_state(folder: Path) -> None:
    trainer().folder = SeedFolder(folder)
    trainer()._resume()


def repair_state(tree: Tree) -> Tree:
    name = "state/000000000/state.pt"
    digest = sha256(tree.get(name, b"")).hexdigest()
    return tree | {"state/000000000/digest.json": dumps({"state.pt": digest})}


@st.composite
def damaged_state(draw: Callable, data: bytes) -> bytes:
    """Replace, remove or rename a part of a state, or exchange a tensor."""
    if draw(st.booleans()):
        return draw(st.one_of(damaged_zip(data), damaged_bytes(data)))
    state = torch.load(io.BytesIO(data), weights_only=True)
    part = draw(st.sampled_from(sorted(state)))
    tensors = st.sampled_from(
        [torch.zeros(()), torch.zeros(0), torch.zeros(2, 2, dtype=torch.bool), None, "x", [], {}, 3]
    )
    action = draw(st.sampled_from(["replace", "remove", "inside"]))
    if action == "replace":
        state[part] = draw(tensors)
    elif action == "remove":
        del state[part]
    elif isinstance(state[part], dict) and state[part]:
        inner = dict(state[part])
        inner[draw(st.sampled_from(sorted(inner)))] = draw(tensors)
        state[part] = inner
    return saved(state)


# --- pipelines


def write_pipeline(folder: Path) -> None:
    network = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(4, 8),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=2,
        attention_head_dim=4,
    )
    DDPMPipeline(network, DDIMScheduler(num_train_timesteps=20)).save_pretrained(folder)


def read_pipeline(folder: Path) -> None:
    check_ddim_steps(open_model(str(folder)), 4)


def hostile_pipelines(tree: Tree, executed: Path) -> Iterator[Tree]:
    """Yield absurd configurations, class names of other modules, and pickles."""
    for file in ("unet/config.json", "scheduler/scheduler_config.json", "model_index.json"):
        content = json.loads(tree[file])
        for key in content:
            for value in (None, -1, 0, 10**9, 10**30, float("nan"), "../x", [], [10**9] * 2, {}):
                yield tree | {file: dumps(content | {key: value})}
    index = json.loads(tree["model_index.json"])
    for kind in ("utils", "DiffusionPipeline", "AutoModel", "UNet2DModel", "os", "__class__", "import_utils"):
        yield tree | {"model_index.json": dumps(index | {"scheduler": ["diffusers", kind]})}
        yield tree | {"model_index.json": dumps(index | {"unet": ["diffusers", kind]})}
        yield tree | {"model_index.json": dumps(index | {"_class_name": kind})}
    call = saved({"conv_in.weight": Executed(executed)})
    without = {name: data for name, data in tree.items() if not name.endswith(".safetensors")}
    yield without | {"unet/diffusion_pytorch_model.bin": call}
    yield without | {"unet/diffusion_pytorch_model.bin": pickle.dumps(Executed(executed))}
    yield tree | {"unet/diffusion_pytorch_model.safetensors": call}
    code = f"import os\nos.mkdir({str(executed)!r})\n".encode()
    yield tree | {"unet/modeling.py": code, "pipeline.py": code, "scheduler/scheduler.py": code}


READERS = by_name(
    Reader("training state", write_state, read_state, repair_state, kinds={"pt": damaged_state}),
    Reader(".pt file", write_pt, read_weights, examples=hostile_pt, kinds={"pt": damaged_pt}),
    Reader(".safetensors file", write_safetensors, read_weights, examples=hostile_safetensors),
    Reader("checkpoint", write_checkpoint, read_checkpoint, repair_checkpoint, hostile_checkpoints),
    Reader("diffusers pipeline", write_pipeline, read_pipeline, examples=hostile_pipelines),
)
