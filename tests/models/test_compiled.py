"""Fast networks compute what plain ones do, and are shared by the checkpoints of a job."""

import copy
import dataclasses
import shutil

import pytest
import torch
from torch import nn

from configs.errors import UserError
from configs.schema import Diffusion
from diffusion.denoiser import Denoiser
from diffusion.schedule import Schedule
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.solver import final_state
from models import compiled
from models.pipelines import open_pipeline

CPU = torch.device("cpu")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler: no g++")


def of(network: nn.Module, num_classes: int | None = None) -> Denoiser:
    return Denoiser(network, Schedule.from_config(Diffusion()).levels, (3, 8, 8), 0.25, num_classes, CPU)


@pytest.fixture(autouse=True)
def nothing_shared(monkeypatch):
    monkeypatch.setattr(compiled, "_SHARED", {})


@pytest.fixture
def x_t():
    return torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def other_weights(network: nn.Module) -> nn.Module:
    changed = copy.deepcopy(network)
    for parameter in changed.parameters():
        parameter.data.mul_(0.9)
    return changed


def test_float32_that_is_not_compiled_is_left_as_it_is(random_unet):
    denoiser = of(random_unet())
    assert (
        compiled.optimize_inference(denoiser, "fp32", False) is denoiser
        and compiled.optimize_inference(denoiser, "tf32", False) is denoiser
    )


def test_half_precision_is_near_and_not_the_same(trained32):
    """Of a trained network, whose x_0 by DDIM differs by 1 % at most in the mean."""
    plain, x_T = trained32.denoiser, trained32["x_T"]
    images, in_half = (
        final_state(Ddim(10).sample(one, x_T)) for one in (plain, compiled.optimize_inference(plain, "bf16", False))
    )
    assert 0 < (in_half - images).norm() / images.norm() < 0.01


@pytest.mark.parametrize("num_classes", [None, 4])
def test_networks_of_one_architecture_are_shared_and_keep_their_weights(num_classes, random_unet, x_t):
    """Also when they are called in turns: each puts out what it does alone."""
    network = random_unet(num_classes=num_classes)
    plain = [of(one, num_classes) for one in (network, other_weights(network))]
    y = plain[0].labels(0, 5)
    alone = []
    for one in plain:
        compiled._SHARED.clear()
        alone.append(compiled.optimize_inference(one, "bf16", False).output(x_t, 100, y))
    compiled._SHARED.clear()
    made = [compiled.optimize_inference(one, "bf16", False) for one in plain]
    assert len(compiled._SHARED) == 1 and not torch.equal(*alone)
    for i in (0, 1, 0):
        assert torch.equal(made[i].output(x_t, 100, y), alone[i])


def test_the_denoiser_that_is_made_faster_stays_as_it_was(random_unet, x_t):
    network = random_unet()
    before = of(network).output(x_t, 100)
    compiled.optimize_inference(of(network), "bf16", False).output(x_t, 100)
    assert torch.equal(of(network).output(x_t, 100), before)


@pytest.mark.parametrize(("able", "says"), [({"avx2": True, "amx_bf16": False}, True), ({"avx512_bf16": True}, False)])
def test_where_half_precision_is_slow_it_is_said_once(able, says, random_unet, capsys, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    compiled.note_if_slow.cache_clear()
    for _ in range(2):
        compiled.optimize_inference(of(random_unet()), "bf16", False)
    assert capsys.readouterr().out.count("bf16 is slow on this cpu") == says
    compiled.note_if_slow.cache_clear()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("direction", [Ddim.sample, Ddim.invert])
def test_nothing_is_asked_of_the_device_on_the_way(direction, precision, random_unet):
    """A GPU would be waited for. On PyTorch's meta device nothing has a value: whoever asks for one fails."""
    network = random_unet(num_classes=4).to("meta")
    denoiser = dataclasses.replace(of(network, 4), device=torch.device("meta"))
    made, x = compiled.optimize_inference(denoiser, precision, False), torch.zeros(4, 3, 8, 8, device="meta")
    end = final_state(direction(Ddim(10), made, x, made.labels(0, 4)))
    assert end.shape == x.shape
    with pytest.raises(RuntimeError):
        end.sum().item()


def test_a_smaller_batch_is_filled_up_and_cut(random_unet, x_t, relative_error):
    seen = []
    made = compiled.optimize_inference(of(random_unet(num_classes=4), 4), "bf16", False)
    made.network.shared.called.register_forward_pre_hook(lambda _, given: seen.append((len(given[0]), len(given[2]))))
    y = made.labels(0, 5)
    whole, part = made.output(x_t, 7, y), made.output(x_t[:2], 7, y[:2])
    assert seen == [(5, 5), (5, 5)] and relative_error(part, whole[:2]) < 1e-6


def test_a_pipelines_network_runs_in_half_precision(pipelines):
    plain = open_pipeline(pipelines / "ldm_vq", None, CPU)
    x_T = torch.randn(2, *plain.shape, generator=torch.Generator().manual_seed(2))
    output, in_half = plain.output(x_T, 500), compiled.optimize_inference(plain, "bf16", False).output(x_T, 500)
    assert in_half.dtype == torch.float32 and 0 < (in_half - output).norm() / output.norm() < 0.02


@needs_compiler
def test_a_second_checkpoint_reuses_what_is_compiled(random_unet, x_t, relative_error):
    """Neither another checkpoint nor a smaller batch compiles anything, and the numbers are those of the plain path."""
    network = random_unet(channel_mult=[1], attention_resolutions=[])
    compiled.check_compiler("cpu")
    torch._dynamo.utils.counters.clear()
    for one in (network, other_weights(network)):
        plain, made = of(one), compiled.optimize_inference(of(one), "fp32", True)
        assert relative_error(made.output(x_t, 100), plain.output(x_t, 100)) < 1e-5
        assert relative_error(made.output(x_t[:2], 3000), plain.output(x_t[:2], 3000)) < 1e-5
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_without_a_compiler_the_sentence_says_what_to_do(monkeypatch, random_unet):
    def broken(*arguments, **options):
        raise RuntimeError("no g++ here\nand a long story")

    monkeypatch.setattr(torch, "compile", broken)
    compiled.check_compiler.cache_clear()
    with pytest.raises(UserError, match=r"no g\+\+ here.* compile=false"):
        compiled.optimize_inference(of(random_unet()), "fp32", True)
