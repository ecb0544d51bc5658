"""`python -m benchmarks.bench`: speed of every part on this machine, compared with improved-diffusion and diffusers.

Writes benchmarks/results/bench_<cpu or cuda>.json and .md, and a plot of how costs grow. On a CPU, a few calls of the
full networks at a small batch size are representative: each DDIM step is one call, and all calls cost the same.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from benchmarks import contenders, jobs, measures, timing
from configs.load import load
from configs.schema import Experiment
from models.flops import FORWARD_PASSES, forward_flop

HERE = Path(__file__).parent
MODELS = ("cifar10", "imagenet64")
SECTIONS = ("sampling", "training", "measures", "loader", "jobs", "growth")
# Batch sizes by device and model.
SAMPLING_BATCH = {"cpu": {"cifar10": 32, "imagenet64": 8}, "cuda": {"cifar10": 1024, "imagenet64": 256}}
TRAINING_BATCH = {"cpu": {"cifar10": 16, "imagenet64": 4}, "cuda": {"cifar10": 128, "imagenet64": 64}}
# Calls between two synchronizations of the GPU, which a training or a sampler does not have. For CIFAR-10, a sampling
# call computes 34 TFLOP, a training step 6 TFLOP.
SAMPLING_CALLS = {"cpu": 1, "cuda": 3}
TRAINING_CALLS = {"cpu": 1, "cuda": 10}
ALL_MEASURES = "all measures that do not run the network"
MATMUL = "matrix product"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--improved-diffusion", type=Path, metavar="PATH", help="its checkout; default: as installed")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--rounds", type=int, default=5, help="number of times each variant is timed")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="FOLDER")
    arguments = parser.parse_args()
    checkout = arguments.improved_diffusion
    if checkout is not None and not (checkout / "improved_diffusion").is_dir():
        parser.error(f"{checkout} is not a checkout of improved-diffusion: it has no folder improved_diffusion")
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results: dict[str, Any] = {"machine": timing.machine()}
    script_util = contenders.import_script_util(checkout)
    for section in arguments.only:
        for model in arguments.models if section in ("sampling", "training") else arguments.models[:1]:
            print(f"{section} of {model} …", flush=True)
            for part in BENCHES[section](model, arguments.rounds, device, script_util):
                results |= part
                results |= relative_cost_of_measures(results)
                write(results, arguments.out, device)
    print(f"\n{markdown(results)}\n→ {arguments.out}/bench_{device.type}.json, .md")


def sampling(model: str, rounds: int, device: torch.device, script_util: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of sampling, then those of inversion."""
    experiment, batch = _experiment(model), SAMPLING_BATCH[device.type][model]
    flop = forward_flop(experiment.model, experiment.diffusion) * batch * contenders.CALLS
    steps, samplers = experiment.analyze.ddim_steps, contenders.samplers(experiment, batch, device, script_util)
    images, errors = batch * contenders.CALLS / steps, dict[str, float]()
    for direction in ("sampling", "inversion"):
        runs = {name: getattr(sampler, direction) for name, sampler in samplers.items()}
        variants, matmuls = timing.time_interleaved(runs, rounds, device, SAMPLING_CALLS[device.type])
        errors = errors or _errors({name: sampler.eps() for name, sampler in samplers.items() if sampler.eps})
        yield {f"{direction}, {model}, batch {batch}, T = {steps}": _rows(variants, matmuls, flop, images, errors)}


def training(model: str, rounds: int, device: torch.device, script_util: Any) -> Iterator[dict[str, Any]]:
    experiment, batch = _experiment(model), TRAINING_BATCH[device.type][model]
    flop = FORWARD_PASSES * forward_flop(experiment.model, experiment.diffusion) * batch
    runs = contenders.training_steps(experiment, batch, device, script_util)
    variants, matmuls = timing.time_interleaved(runs, rounds, device, TRAINING_CALLS[device.type])
    errors = _errors({name: variant.result for name, variant in variants.items() if variant.result is not None})
    yield {f"training, {model}, batch {batch}": _rows(variants, matmuls, flop, batch, errors)}


def all_measures(model: str, rounds: int, device: torch.device, script_util: Any) -> Iterator[dict[str, Any]]:
    rows = {name: measures.measure_in_subprocess(name, measures.SIDES[0]) for name in measures.MEASURED}
    totals = {kind: measures.seconds_of_analysis(rows, kind) for kind in (measures.FIRST, measures.FURTHER)}
    yield {"measures": rows} | {f"{ALL_MEASURES}, {kind}": seconds for kind, seconds in totals.items()}


def relative_cost_of_measures(results: dict[str, Any]) -> dict[str, float]:
    """Return the time of measuring a further CIFAR-10 checkpoint divided by that of generating it, if both are known.

    Generating means samples, their latents and the last checkpoint's latents, in our fastest variant: one sampling and
    two inversions of T calls for N images.
    """
    measures_s = results.get(f"{ALL_MEASURES}, {measures.FURTHER}")
    speeds = {
        direction: max(row["images/s"] for name, row in rows.items() if name.startswith("ours"))
        for title, rows in results.items()
        for direction in ("sampling", "inversion")
        if title.startswith(f"{direction}, cifar10")
    }
    if measures_s is None or len(speeds) < 2:
        return {}
    generation_s = measures.IMAGES * (1 / speeds["sampling"] + 2 / speeds["inversion"])
    return {f"{ALL_MEASURES}, relative to generating N = {measures.IMAGES:,}": measures_s / generation_s}


def loader(model: str, rounds: int, device: torch.device, script_util: Any) -> Iterator[dict[str, Any]]:
    experiment = _experiment(model)
    speed = jobs.loader_speed(experiment, experiment.train.batch_size, device)
    yield {"loader alone [images per compute second]": speed}


def job_overhead(model: str, rounds: int, device: torch.device, script_util: Any) -> Iterator[dict[str, Any]]:
    yield {f"overhead of a job, {model} [compute seconds]": jobs.overhead(_experiment(model), device)}


def growth(model: str, rounds: int, device: torch.device, script_util: Any) -> Iterator[dict[str, Any]]:
    yield {"growth": jobs.growth(_experiment(model), device)}


BENCHES: dict[str, Callable[[str, int, torch.device, Any], Iterator[dict[str, Any]]]] = {
    "sampling": sampling,
    "training": training,
    "measures": all_measures,
    "loader": loader,
    "jobs": job_overhead,
    "growth": growth,
}


def _experiment(model: str) -> Experiment:
    return load(HERE.parent / "configs" / f"{model}.yaml", [])


def _rows(
    variants: dict[str, timing.Timing],
    matmuls: dict[str, float],
    flop: float,
    images: float,
    errors: dict[str, float],
) -> dict[str, dict]:
    """Return one row per variant, and one with the speed of matrix products."""
    rows: dict[str, dict] = {}
    for name, variant in variants.items():
        rows[name] = {
            "images/s": images / variant.seconds,
            "speedup": variant.speedup,
            "speedup in compute time": variant.compute_speedup,
            "TFLOP/s": flop / variant.seconds / 1e12,
            "fraction of a matrix product": _fraction(name, flop / variant.compute_s, matmuls),
            "first call [s]": variant.first_s,
            "memory per call [GiB]": variant.extra_gib,
            "error": errors.get(name),
        }
    return rows | {MATMUL: {f"{name} TFLOP per compute second": rate / 1e12 for name, rate in matmuls.items()}}


def _fraction(name: str, flop_per_s: float, matmuls: dict[str, float]) -> float | None:
    """Return a variant's speed relative to a matrix product in its precision; None in TF32, where none was timed."""
    if "tf32" in name:
        return None
    return flop_per_s / matmuls["bf16" if "bf16" in name else "fp32"]


def _errors(outputs: dict[str, Tensor]) -> dict[str, float]:
    """Return ‖output − exact‖ / ‖exact‖ of each variant for the same input, with our float32 output as exact."""
    exact = outputs["ours fp32"].double()
    return {name: ((output.double() - exact).norm() / exact.norm()).item() for name, output in outputs.items()}


def write(results: dict[str, Any], folder: Path, device: torch.device) -> None:
    name = f"bench_{device.type}"
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / f"{name}.md").write_text(markdown(results))
    if "growth" in results:
        plot(results["growth"], folder / f"{name}_growth.png")


def markdown(results: dict[str, Any]) -> str:
    lines = [
        "# Speed compared with improved-diffusion and diffusers",
        "",
        f"{timing.describe(results['machine'])}.",
        "`make bench`: medians of interleaved runs. A speedup is the median over rounds of the ratio to the first",
        "row, so it may differ from the ratio of the medians. Compute time is CPU time; on a GPU, it is wall-clock",
        "time. FLOP are counted for our network. The error is that of ε relative to our float32; in training, it is",
        "the error of the gradient norm.",
    ]
    for title, rows in results.items():
        if isinstance(rows, dict) and title not in ("machine", "growth"):
            lines += ["", f"## {title[0].upper()}{title[1:]}", "", *_table(rows)]
        elif isinstance(rows, float):
            lines += ["", f"{title}: {rows:.3g}"]
    if "growth" in results:
        lines += ["", "## Growth of the cost of generating: compute seconds (peak memory of the process, GiB)", ""]
        for name, points in results["growth"].items():
            values = "; ".join(f"{x}: {seconds:.2f} ({peak:.2f})" for x, (seconds, peak) in points.items())
            lines.append(f"* {name}: {values}")
    return "\n".join(lines) + "\n"


def _table(rows: dict[str, Any]) -> list[str]:
    matmuls = rows.get(MATMUL)
    variants = {name: row for name, row in rows.items() if name != MATMUL}
    if not isinstance(next(iter(variants.values())), dict):
        return [f"* {name}: {value:.2f}" for name, value in variants.items()]
    columns = list(next(iter(variants.values())))
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns)]
    for name, row in variants.items():
        lines.append(f"| {name} | " + " | ".join(_format(row[column]) for column in columns) + " |")
    if matmuls:
        values = ", ".join(f"{name} {value:.3g}" for name, value in matmuls.items())
        lines += ["", f"Matrix products in the same rounds: {values}."]
    return lines


def _format(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def plot(growths: dict[str, dict[int, tuple[float, float]]], path: Path) -> None:
    """Plot compute seconds over N, T and checkpoints, with the line through the origin and the first point."""
    figure, axes = plt.subplots(1, len(growths), figsize=(9, 2.8), layout="constrained")
    for axis, (name, points) in zip(axes, growths.items(), strict=True):
        x = [int(count) for count in points]
        y = [seconds for seconds, _ in points.values()]
        axis.plot(x, y, "o-")
        axis.plot([0, x[-1]], [0, y[0] * x[-1] / x[0]], ":", color="gray")
        axis.set(xlabel=name, ylabel="compute seconds" if name == "N" else "", xlim=(0, None), ylim=(0, None))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
