"""`python -m benchmarks.profile CONFIG.yaml [key=value …]`: the longest operations of training and sampling.

Uses random images. On a GPU, prints kernels, and the fraction of the time in which none was running: it is large if the
host launches kernels too slowly or waits for results.
"""

import time
from collections.abc import Callable

import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from benchmarks.contenders import network_of, our_training
from configs.command import experiment_command
from configs.errors import run_command
from models.compiled import optimize_inference
from models.open import as_denoiser

WARM_UP, CALLS = 3, 10
ROWS = 15


def main(arguments: list[str]) -> None:
    experiment = experiment_command("python -m benchmarks.profile", "Profile a training step and a call.", arguments)
    device, training = torch.device("cuda" if torch.cuda.is_available() else "cpu"), experiment.train
    step = our_training(experiment, training.batch_size, training.precision, training.compile, training.graph)
    print(report(f"training step, batch {training.batch_size}", step, device))
    options = experiment.analyze
    network = network_of(experiment, device)
    denoiser = as_denoiser(network, experiment.model, experiment.diffusion, device)
    denoiser = optimize_inference(denoiser, options.precision, options.compile)
    x = torch.randn(options.batch_size or training.batch_size, *denoiser.shape, device=device)

    @torch.no_grad()
    def call() -> None:
        denoiser.output(x, 500.0, denoiser.labels(0, len(x)))

    print(report(f"network call, batch {len(x)}", call, device))


def report(title: str, run: Callable[[], object], device: torch.device) -> str:
    """Return the time per call, the idle fraction of a GPU, and the operations with the largest total time."""
    for _ in range(WARM_UP):
        run()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiler:
        seconds = _time(run, device)
    on_gpu = [event for event in profiler.events() or [] if _is_gpu_work(event)]
    busy_s = sum(event.time_range.elapsed_us() for event in on_gpu) / 1e6
    idle = f", {len(on_gpu) / CALLS:,.0f} kernels, GPU idle {max(0.0, 1 - busy_s / seconds):.0%}" if on_gpu else ""
    order = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    table = profiler.key_averages().table(sort_by=order, row_limit=ROWS, max_name_column_width=60)
    return f"{title}: {seconds / CALLS * 1e3:.2f} ms per call{idle}\n{table}"


def _is_gpu_work(event: FunctionEvent) -> bool:
    """Return whether an event is a kernel or a copy; an annotation, such as an optimizer's step, spans several."""
    return event.device_type == DeviceType.CUDA and not event.is_user_annotation


def _time(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of all calls."""
    start_s = time.perf_counter()
    for _ in range(CALLS):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start_s


if __name__ == "__main__":
    run_command(main)
