"""Tests that optimized networks compute the same as plain ones and are shared by the checkpoints of a job."""

import copy
import dataclasses
import functools
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from configs.errors import UserError
from configs.schema import Diffusion
from diffusion.denoiser import Denoiser
from diffusion.schedule import Schedule
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.newton_krylov import jacobian_product
from diffusion.solvers.solver import final_state
from models import compiled
from models.compiled import HALF, optimize_inference, tensor_bytes
from models.pipelines import open_pipeline

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile requires a C++ compiler: no g++")


def as_denoiser(network: nn.Module, num_classes: int | None = None) -> Denoiser:
    return Denoiser(network, Schedule.from_config(Diffusion()).levels, (3, 8, 8), 0.25, num_classes, CPU)


@pytest.fixture(autouse=True)
def no_shared_networks(monkeypatch):
    monkeypatch.setattr(compiled, "_NETWORKS", {})


@pytest.fixture
def x_t():
    return torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def scale_weights(network: nn.Module) -> nn.Module:
    """Return the same network with other weights."""
    scaled = copy.deepcopy(network)
    for parameter in scaled.parameters():
        parameter.data.mul_(0.9)
    return scaled


def test_float32_without_compilation_returns_the_same_denoiser(random_unet):
    denoiser = as_denoiser(random_unet())
    assert optimize_inference(denoiser, "fp32", False) is denoiser
    assert optimize_inference(denoiser, "tf32", False) is denoiser


def test_half_precision_is_close_but_not_equal(trained32):
    """x_0 of a trained network deviates by at most 1 % of its norm."""
    plain, x_T = trained32.denoiser, trained32["x_T"]
    denoisers = plain, optimize_inference(plain, "bf16", False)
    images, images_bf16 = (final_state(Ddim(10).sample(denoiser, x_T)) for denoiser in denoisers)
    assert 0 < (images_bf16 - images).norm() / images.norm() < 0.01


@pytest.mark.parametrize("num_classes", [None, 4])
def test_networks_of_one_architecture_are_shared_and_keep_their_weights(num_classes, random_unet, x_t):
    """Called alternately, each denoiser computes the same as alone."""
    network = random_unet(num_classes=num_classes)
    plain = [as_denoiser(weights, num_classes) for weights in (network, scale_weights(network))]
    y = plain[0].labels(0, 5)
    expected = []
    for denoiser in plain:
        compiled._NETWORKS.clear()
        expected.append(optimize_inference(denoiser, "bf16", False).output(x_t, 100, y))
    compiled._NETWORKS.clear()
    sharing = [optimize_inference(denoiser, "bf16", False) for denoiser in plain]
    assert len(compiled._NETWORKS) == 1 and not torch.equal(*expected)
    for i in (0, 1, 0):
        assert torch.equal(sharing[i].output(x_t, 100, y), expected[i])


def test_the_original_denoiser_is_not_modified(random_unet, x_t):
    network = random_unet()
    before = as_denoiser(network).output(x_t, 100)
    optimize_inference(as_denoiser(network), "bf16", False).output(x_t, 100)
    assert torch.equal(as_denoiser(network).output(x_t, 100), before)


@pytest.mark.parametrize(
    ("capabilities", "is_slow"), [({"avx2": True, "amx_bf16": False}, True), ({"avx512_bf16": True}, False)]
)
def test_slow_half_precision_is_noted_once(capabilities, is_slow, random_unet, capsys, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    compiled.note_slow_bf16.cache_clear()
    for _ in range(2):
        optimize_inference(as_denoiser(random_unet()), "bf16", False)
    assert capsys.readouterr().out.count("bf16 is slow on this cpu") == is_slow
    compiled.note_slow_bf16.cache_clear()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("direction", [Ddim.sample, Ddim.invert])
def test_ddim_never_waits_for_the_device(direction, precision, random_unet):
    """Reading a value would synchronize with a GPU. Tensors on PyTorch's meta device have no values, so it fails."""
    network = random_unet(num_classes=4).to("meta")
    plain = dataclasses.replace(as_denoiser(network, 4), device=torch.device("meta"))
    denoiser, x = optimize_inference(plain, precision, False), torch.zeros(4, 3, 8, 8, device="meta")
    result = final_state(direction(Ddim(10), denoiser, x, denoiser.labels(0, 4)))
    assert result.shape == x.shape
    with pytest.raises(RuntimeError):
        result.sum().item()


@pytest.mark.parametrize(
    ("is_compiled", "expected"),
    [(False, [5, 2, 40, 3, 2, 1]), (True, [5, 5, 40, 5, 5, 1])],
)
def test_a_smaller_batch_of_a_compiled_network_is_padded(is_compiled, expected, random_unet, relative_error):
    """The network is not compiled here, which takes long; only its wrapper believes so."""
    batch_sizes = []
    denoiser = optimize_inference(as_denoiser(random_unet(num_classes=4), 4), "bf16", False)
    denoiser.network.compiled.is_compiled = is_compiled
    denoiser.network.compiled.module.register_forward_pre_hook(
        lambda _, inputs: batch_sizes.append((len(inputs[0]), len(inputs[2])))
    )
    x_t = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    y = denoiser.labels(0, 40)
    outputs = [denoiser.output(x_t[:count], 7, y[:count]) for count in (5, 2, 40, 3, 2, 1)]
    assert batch_sizes == [(count, count) for count in expected]
    assert all(relative_error(output, outputs[2][: len(output)]) < 1e-2 for output in outputs)


def test_a_batch_that_is_far_smaller_is_compiled_instead_of_padded():
    network = compiled.CompiledNetwork(nn.Identity(), nn.Identity(), is_compiled=True)
    paddings = [network._padding(count) for count in (1024, 100, 32, 20, 3, 1)]
    assert paddings == [0, 0, 68, 0, 0, 2] and network.batch_sizes == {1024, 100, 20, 3}


def test_a_batch_without_compilation_is_neither_padded_nor_padded_to(random_unet, x_t):
    """A size that was never compiled may be too large for the memory, or larger than any that follows."""
    batch_sizes = []
    denoiser = optimize_inference(as_denoiser(random_unet()), "bf16", False)
    denoiser.network.compiled.is_compiled = True  # only its wrapper believes so
    denoiser.network.compiled.module.register_forward_pre_hook(lambda _, inputs: batch_sizes.append(len(inputs[0])))
    denoiser.network.compiled.swap_weights(denoiser.network)  # inverters evaluate the network first
    jacobian_product(lambda x: denoiser.output(x, 100), x_t, x_t)
    denoiser.output(x_t[:3], 100)
    jacobian_product(lambda x: denoiser.output(x, 100), x_t[:2], x_t[:2])
    assert batch_sizes == [5, 3, 2] and denoiser.network.compiled.batch_sizes == {3}


@pytest.mark.parametrize("in_thread", [False, True])
def test_every_batch_size_is_compiled(in_thread, random_unet, monkeypatch):
    """PyTorch gives up after eight by default; each GPU of a process counts as well, and has its own thread."""
    compilations = CompileCounter()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=compilations))
    monkeypatch.setattr(compiled, "check_compiler", lambda device_type: None)
    denoiser = optimize_inference(as_denoiser(random_unet()), "fp32", True)
    with ThreadPoolExecutor(1) as pool:
        for count in range(1, 13):
            batch = torch.zeros(count, 3, 8, 8), 7, None
            pool.submit(denoiser.output, *batch).result() if in_thread else denoiser.output(*batch)
    assert compilations.frame_count == 12


@pytest.mark.parametrize("precision, error", [("bf16", 0.02), ("fp16", 0.003)])
def test_a_pipelines_network_runs_in_half_precision(precision, error, pipelines):
    pipeline = open_pipeline(pipelines / "ldm_vq")
    plain, half = pipeline.denoiser, pipeline.load_denoiser(CPU, half=HALF[precision])
    x_T = torch.randn(2, *plain.shape, generator=torch.Generator().manual_seed(2))
    output, in_half = plain.output(x_T, 500), optimize_inference(half, precision, False).output(x_T, 500)
    assert torch.equal(in_half, optimize_inference(plain, precision, False).output(x_T, 500))
    assert in_half.dtype == torch.float32 and 0 < (in_half - output).norm() / output.norm() < error


def test_a_unet_runs_in_float16(random_unet, x_t):
    plain = as_denoiser(random_unet())
    output, in_half = plain.output(x_t, 500), optimize_inference(plain, "fp16", False).output(x_t, 500)
    assert in_half.dtype == torch.float32 and 0 < (in_half - output).norm() / output.norm() < 0.003


@needs_compiler
def test_a_second_checkpoint_reuses_the_compiled_network(random_unet, x_t, relative_error):
    """Neither other weights nor a smaller batch trigger a compilation, and outputs equal those of the plain network."""
    network = random_unet(channel_mult=[1], attention_resolutions=[])
    compiled.check_compiler("cpu")
    torch._dynamo.utils.counters.clear()
    for weights in (network, scale_weights(network)):
        plain, denoiser = as_denoiser(weights), optimize_inference(as_denoiser(weights), "fp32", True)
        assert relative_error(denoiser.output(x_t, 100), plain.output(x_t, 100)) < 1e-5
        assert relative_error(denoiser.output(x_t[:2], 3000), plain.output(x_t[:2], 3000)) < 1e-5
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@needs_compiler
def test_a_derivative_leaves_the_network_compiled(random_unet, x_t):
    denoiser = optimize_inference(as_denoiser(random_unet(channel_mult=[1], attention_resolutions=[])), "fp32", True)
    compiled.check_compiler("cpu")
    torch._dynamo.reset()  # networks of other tests have the same code
    torch._dynamo.utils.counters.clear()
    denoiser.network.compiled.swap_weights(denoiser.network)  # inverters evaluate the network first
    jacobian_product(lambda x: denoiser.output(x, 100), x_t, x_t)
    denoiser.output(x_t, 100)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize(
    ("option", "device", "expected"),
    [(None, "cpu", False), (None, "cuda", True), (False, "cuda", False), (True, "cpu", True)],
)
def test_networks_are_compiled_on_a_gpu_only_if_the_option_is_null(option, device, expected):
    assert compiled.should_compile(option, torch.device(device)) == expected


def test_a_missing_compiler_is_a_user_error(monkeypatch, random_unet):
    def broken_compile(*arguments, **options):
        raise RuntimeError("no g++ here\nand more lines")

    monkeypatch.setattr(torch, "compile", broken_compile)
    compiled.check_compiler.cache_clear()
    with pytest.raises(UserError, match=r"no g\+\+ here.* compile=false"):
        optimize_inference(as_denoiser(random_unet()), "fp32", True)


@pytest.mark.parametrize("half", [None, torch.bfloat16])
def test_the_memory_of_weights_is_predicted(half, pipelines):
    pipeline = open_pipeline(pipelines / "ldm_vq")
    loaded = pipeline.load_denoiser(CPU, half).network
    assert tensor_bytes(pipeline.denoiser.network, half is not None) == sum(
        weight.nbytes for weight in loaded.parameters()
    )
