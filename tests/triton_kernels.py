"""Triton kernels that PyTorch generates for a network, compiled for an NVIDIA GPU on a machine without one.

python tests/triton_kernels.py training|sampling BATCH_SIZE CONFIG.yaml [key=value …]

PyTorch's compiler generates the kernels for the CPU with its Triton backend, as it would for a GPU. Their source is
intercepted and compiled to machine code for sm_90 (H100, H200). Prints the numbers of kernels, of launches per call
(in training, per step) and of launches that only convert types, as JSON; ends with an error if a kernel does not
compile. Needs Triton and a process for itself, because it replaces parts of PyTorch and Triton.
"""

import ast
import importlib.util
import json
import os
import re
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from torch._functorch import config as functorch_config
from torch._inductor import config as inductor_config
from torch._inductor.graph import GraphLowering
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from configs.load import load
from configs.schema import Experiment
from diffusion.losses import GaussianDiffusion
from diffusion.schedule import Schedule
from models import compiled
from models.compiled import optimize_inference
from models.open import as_denoiser
from models.unet import UNet
from train.network import new_network

CPU = torch.device("cpu")
HOPPER = GPUTarget("cuda", 90, 32)
BLOCK_SIZES = {"XBLOCK": 8, "YBLOCK": 16}  # valid for every kernel; PyTorch would time several
OTHER_BLOCK_SIZE = 64
CONVERSION = re.compile(r"triton_poi_fused__to_copy_\d+")
IMPORTS = """import triton
import triton.language as tl
from torch._inductor.runtime import triton_helpers
from torch._inductor.runtime.triton_helpers import libdevice, math as tl_math
"""


class NotRun(Exception):
    """Raised in place of running a compiled graph."""


class Driver:
    """Driver of Triton for a GPU that does not exist."""

    def get_current_target(self) -> GPUTarget:
        return HOPPER

    def get_current_device(self) -> int:
        return 0


def main(phase: str, batch_size: str, config: str, *overrides: str) -> None:
    experiment = load(config, overrides)
    with tempfile.TemporaryDirectory() as folder:
        caches = {"TORCHINDUCTOR_CACHE_DIR": folder, "TRITON_CACHE_DIR": folder, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        os.environ |= caches
        with generated_code() as graphs:
            {"training": training_step, "sampling": sampling_step}[phase](experiment, int(batch_size))
        for graph in graphs:
            compile_kernels(graph, Path(folder))
    launches = [name for graph in graphs for name in re.findall(r"(\w+)\.run\(", graph)]
    counts = {"graphs": len(graphs), "kernels": len(set(launches)), "launches": len(launches)}
    print(json.dumps(counts | {"conversions": sum(bool(CONVERSION.fullmatch(name)) for name in launches)}))


@contextmanager
def generated_code() -> Iterator[list[str]]:
    """Yield a list that receives the code of every graph that is compiled inside the context; no graph runs."""
    graphs: list[str] = []

    def intercept(graph: GraphLowering) -> types.SimpleNamespace:
        graphs.append(graph.codegen()[0].value)
        return types.SimpleNamespace(call=not_run, __file__="", key="")

    no_backend = types.SimpleNamespace(compiler=types.SimpleNamespace(supports_target=lambda target: False))
    triton.runtime.driver.set_active(Driver())
    with (
        mock.patch.dict(triton.backends.backends, cpu=no_backend),
        mock.patch.object(GraphLowering, "_compile_to_module", intercept),
        mock.patch.object(compiled, "check_compiler"),
        mock.patch("train.network.check_compiler"),
        inductor_config.patch(cpu_backend="triton", force_disable_caches=True),
        functorch_config.patch(force_non_lazy_backward_lowering=True),
    ):
        yield graphs


def not_run(arguments: Any) -> None:
    raise NotRun


def training_step(experiment: Experiment, batch_size: int) -> None:
    """Compile the network and the loss as in a training step."""
    model, diffusion = experiment.model, experiment.diffusion
    experiment.train.compile = True
    network = new_network(experiment, CPU)
    network.autocasts_ends = False  # as on a GPU
    process = GaussianDiffusion(Schedule.from_config(diffusion), diffusion.variance, diffusion.rescale_timesteps)
    x, t = images(experiment, batch_size), torch.arange(batch_size)
    y, dropout_keys = None if model.num_classes is None else t, t.to(torch.int32)
    output = torch.cat([x, x], dim=1).requires_grad_()
    with suppress(NotRun), torch.autocast("cpu", torch.bfloat16):
        network(x, process.network_time(t), y, dropout_keys)
    with suppress(NotRun):
        torch.compile(process.output_losses, dynamic=False)(output, x, x, t, x, experiment.train.loss)


def sampling_step(experiment: Experiment, batch_size: int) -> None:
    """Compile the network as in the analysis."""
    network = UNet.from_config(experiment.model, experiment.diffusion).requires_grad_(False).eval()
    denoiser = as_denoiser(network, experiment.model, experiment.diffusion, CPU)
    fast = optimize_inference(denoiser, "bf16", True)
    with suppress(NotRun), torch.no_grad():
        fast.output(images(experiment, batch_size), 500, fast.labels(0, batch_size))


def images(experiment: Experiment, batch_size: int) -> torch.Tensor:
    model = experiment.model
    return torch.zeros(batch_size, model.in_channels, model.image_size, model.image_size)


def compile_kernels(graph: str, folder: Path) -> None:
    """Compile all Triton kernels in the code of a graph. Raises Triton's CompilationError for the first that fails."""
    for name, code in re.findall(r"async_compile\.triton\('(\w+)', '''(.*?)'''", graph, re.DOTALL):
        signature = ast.literal_eval(re.search(r"'signature': (\{.*?\})", code)[1])
        constants = {
            key: BLOCK_SIZES.get(key, OTHER_BLOCK_SIZE) for key, kind in signature.items() if kind == "constexpr"
        }
        kernel = load_kernel(folder / f"{name}.py", name, code[code.index("@triton.jit") :])
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        triton.compile(source, target=HOPPER, options={"num_warps": 4})


def load_kernel(file: Path, name: str, code: str) -> Callable:
    """Import a kernel from a file, because Triton reads its source."""
    file.write_text(IMPORTS + code)
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
