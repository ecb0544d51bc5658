"""Tests of velocity models in the convention of facebookresearch/flow_matching."""

import math

import pytest
import torch
from flow_matching.solver import ODESolver
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from analyze.model import analyze_model
from configs.errors import UserError
from configs.load import load_model_study
from diffusion.solvers import INVERTERS
from diffusion.solvers.anderson import Anderson
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.fixed_point import FixedPoint
from diffusion.solvers.solver import final_state
from diffusion.solvers.spacing import EulerSpacing
from models.flow_matching import velocity_denoiser
from models.source import open_source

CPU = torch.device("cpu")
NOISE = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def velocity(x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
    """Return the velocity of a flow to data N(½, ¼·I), or around y/2 for labels, in closed form."""
    t, mean = t[:, None, None, None], 0.5 if y is None else y[:, None, None, None] / 2
    variance = t**2 / 4 + (1 - t) ** 2
    data = mean + t / 4 / variance * (x - t * mean)
    return (data - x) / (1 - t).clamp(min=1e-3)


def euler(x: Tensor, steps: int, y: Tensor | None = None, guidance: float = 1.0) -> Tensor:
    """Integrate a velocity from t = 0 to 1, with null label 2."""
    for i in range(steps):
        t = torch.full((len(x),), i / steps)
        slope = velocity(x, t, y)
        if guidance != 1:
            null = velocity(x, t, torch.full_like(y, 2))
            slope = null + guidance * (slope - null)
        x = x + slope / steps
    return x


def test_sampling_is_eulers_method(relative_error):
    sampled = final_state(Ddim(10, EulerSpacing()).sample(velocity_denoiser(velocity, (3, 8, 8), CPU), NOISE))
    assert relative_error(sampled, euler(NOISE, 10)) < 1e-5


def test_sampling_agrees_with_the_original_solver(relative_error):
    solver = ODESolver(velocity_model=lambda x, t: velocity(x, t.expand(len(x))))
    original = solver.sample(NOISE, step_size=0.1, method="euler")
    sampled = final_state(Ddim(10, EulerSpacing()).sample(velocity_denoiser(velocity, (3, 8, 8), CPU), NOISE))
    assert relative_error(sampled, original) < 1e-4


def test_guidance_combines_velocities(relative_error):
    denoiser, y = velocity_denoiser(velocity, (3, 8, 8), CPU, num_classes=2, guidance=3.0), torch.tensor([0, 1, 1])
    sampled = final_state(Ddim(10, EulerSpacing()).sample(denoiser, NOISE, y))
    assert denoiser.evaluations_per_call == 2 and relative_error(sampled, euler(NOISE, 10, y, 3.0)) < 1e-5


def test_inversion_is_eulers_method_from_data_to_noise(relative_error):
    x = NOISE
    for i in range(10, 0, -1):
        x = x - velocity(x, torch.full((3,), i / 10)) / 10
    inverted = final_state(Ddim(10, EulerSpacing()).invert(velocity_denoiser(velocity, (3, 8, 8), CPU), NOISE))
    assert relative_error(inverted, x) < 1e-5


@pytest.mark.parametrize("solver", [FixedPoint(10, EulerSpacing(), rounds=30), Anderson(10, EulerSpacing(), rounds=8)])
def test_exact_inverters_return_to_pure_noise(solver, relative_error):
    """The last step ends at α = 0, where DDIM's equation of ε is singular."""
    denoiser = velocity_denoiser(velocity, (3, 8, 8), CPU)
    x_0 = final_state(solver.sample(denoiser, NOISE))
    assert relative_error(final_state(solver.invert(denoiser, x_0)), NOISE) < 1e-5


def test_the_ode_solver_of_flow_matching_samples_the_same(relative_error):
    solver = pytest.importorskip("flow_matching.solver", reason="requires flow_matching and torchdiffeq")
    ode = solver.ODESolver(lambda x, t: velocity(x, t.expand(len(x))))
    expected = ode.sample(NOISE, step_size=None, time_grid=torch.linspace(0, 1, 11))
    sampled = final_state(Ddim(10, EulerSpacing()).sample(velocity_denoiser(velocity, (3, 8, 8), CPU), NOISE))
    assert relative_error(sampled, expected) < 1e-5


@pytest.fixture
def state_dict(random_unet, tmp_path):
    """Return a function that saves a state dict with new attention order, as flow_matching's example trains."""

    def save(**options):
        network = random_unet(use_new_attention_order=True, model_channels=32, norm_groups=32, **options)
        torch.save(network.state_dict(), tmp_path / "velocity.pt")
        return network, tmp_path / "velocity.pt"

    return save


def open_velocity(path, *overrides):
    options = ["flow_matching=true", "openai.image_size=8", "openai.use_new_attention_order=true", "openai.num_heads=2"]
    return open_source(load_model_study(str(path), [*options, *overrides]))


def test_a_state_dict_is_opened(state_dict, relative_error):
    network, path = state_dict(out_channels=3)
    source = open_velocity(path)
    sampled = final_state(Ddim(4, source.spacing).sample(source.denoiser, NOISE))
    x = NOISE
    for i in range(4):
        x = x + network(x, torch.full((3,), i / 4)) / 4
    assert relative_error(sampled, x) < 1e-4 and "flow matching, predicts the velocity" in source.about[2]
    with pytest.raises(UserError, match="guidance needs a model with classes"):
        open_velocity(path, "guidance=2")


def test_the_last_class_of_a_state_dict_is_the_null_class(state_dict, relative_error):
    network, path = state_dict(out_channels=3, num_classes=5)
    denoiser, y = open_velocity(path, "guidance=3").denoiser, torch.tensor([0, 1, 3])
    conditional, null = (network(NOISE, torch.full((3,), 0.25), labels) for labels in (y, torch.full((3,), 4)))
    assert denoiser.num_classes == 4
    assert relative_error(denoiser.output(NOISE, 750, y), -(null + 3 * (conditional - null))) < 1e-4


class Averaged(nn.Module):
    """The layout of flow_matching's EMA module: the network, and averages of its parameters as a list."""

    def __init__(self, network: nn.Module, averages: list[Tensor]):
        super().__init__()
        self.model = network
        self.register_buffer("num_updates", torch.tensor(7))
        self.shadow_params = nn.ParameterList(nn.Parameter(average, requires_grad=False) for average in averages)


def test_the_averages_of_a_training_with_use_ema_are_opened(state_dict, relative_error):
    network, path = state_dict(out_channels=3, num_classes=5)
    averages = [parameter + 0.01 for parameter in network.parameters()]
    torch.save(Averaged(network, averages).state_dict(), path)
    y, trained = torch.tensor([0, 1, 3]), network(NOISE, torch.full((3,), 0.25), torch.tensor([0, 1, 3]))
    vector_to_parameters(parameters_to_vector(averages), network.parameters())
    expected = network(NOISE, torch.full((3,), 0.25), y)
    denoiser = open_velocity(path).denoiser
    assert denoiser.num_classes == 4 and relative_error(denoiser.output(NOISE, 750, y), -expected) < 1e-4
    assert relative_error(trained, expected) > 1e-2


def test_averages_that_do_not_belong_to_the_parameters_are_rejected(state_dict):
    """Safetensors are sorted by name and size, so that the order of the parameters is lost."""
    network, path = state_dict(out_channels=3)
    averages = [parameter.detach().clone() for parameter in network.parameters()]
    for wrong in (averages[:-1], [*averages, averages[0]], averages[::-1]):
        torch.save(Averaged(network, wrong).state_dict(), path)
        with pytest.raises(UserError, match=r"velocity.pt: shadow_params\.\* are not the averages of model\.\*"):
            open_velocity(path)
    save_file(Averaged(network, averages).state_dict(), path.with_suffix(".safetensors"))
    with pytest.raises(UserError, match=r"velocity.safetensors: .* save the state dict with torch.save"):
        open_velocity(path.with_suffix(".safetensors"))


@pytest.mark.parametrize("option", ["guidance=2", "prompts=[a cat]", "latent_size=16"])
def test_options_of_other_models_are_rejected(option, state_dict):
    path = state_dict(out_channels=3)[1]
    with pytest.raises(UserError, match=option.partition("=")[0]):
        open_source(load_model_study(str(path), ["openai.image_size=8", option]))


@pytest.mark.parametrize("name", INVERTERS)
def test_inverters_that_divide_by_the_signal_level_are_marked(name, relative_error):
    """The others recover the noise to some degree."""
    inverter, denoiser = INVERTERS[name], velocity_denoiser(velocity, (3, 8, 8), CPU)
    solver = inverter.build(min(1, inverter.max_rounds), steps=10, spacing=EulerSpacing(), clip=False)
    x_0 = final_state(Ddim(10, EulerSpacing()).sample(denoiser, NOISE))
    try:
        final_state(solver.sample(denoiser, NOISE))
        error = relative_error(final_state(solver.invert(denoiser, x_0)), NOISE)
    except (ZeroDivisionError, ValueError):  # ValueError: Rex inverts the levels, which start with a clean image
        error = float("nan")
    assert inverter.divides_by_signal == math.isnan(error) and not error > 0.5


@pytest.mark.parametrize(("names", "failure"), [("", None), ("[fixed point,EDICT]", '"EDICT" divides by the signal')])
def test_inverters_of_pure_noise_are_compared(names, failure, state_dict, tmp_path):
    path = state_dict(out_channels=3)[1]
    options = ["flow_matching=true", "openai.image_size=8", "analyze.samples=4", "analyze.ddim_steps=2", "sweep=[2]"]
    options += [
        f"runs={tmp_path}/runs",
        "wandb.mode=disabled",
        "analyze.precision=fp32",
        "analyze.measures.inverter_nfe=[2]",
    ]
    study = load_model_study(str(path), [*options, *([f"analyze.measures.inverters={names}"] if names else [])])
    (analysis,) = analyze_model(study, only="inverters")[1]
    if failure:
        assert failure in " ".join(analysis.failures().values())
        return
    assert not analysis.failures()
    results = analysis.results(2)["inverters"]["values"]["results"].values()
    assert {result["method"] for result in results} >= {"fixed point", "naive (diffusers)"} and len(results) < 15
