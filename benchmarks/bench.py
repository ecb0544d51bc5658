"""python -m benchmarks.bench: how fast everything is on this machine, side by side with what one would use instead.

Writes benchmarks/results/bench_<cpu or cuda>.json and .md, and a plot of how costs grow. On a CPU a few calls of the
full networks at a small batch stand for all: every step of DDIM is one call, and every call costs the same.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from benchmarks import contenders, jobs, measures, timing
from configs.load import load
from models.flops import FORWARD_PASSES, forward_flop

HERE = Path(__file__).parent
MODELS = ("cifar10", "imagenet64")
SECTIONS = ("sampling", "training", "measures", "loader", "jobs", "growth")
# Images at once: by device, of each model.
WALKED = {"cpu": {"cifar10": 32, "imagenet64": 8}, "cuda": {"cifar10": 256, "imagenet64": 128}}
TRAINED = {"cpu": {"cifar10": 16, "imagenet64": 4}, "cuda": {"cifar10": 128, "imagenet64": 64}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--improved-diffusion", type=Path, metavar="PATH", help="a checkout of it; else as installed")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--rounds", type=int, default=5, help="how often each variant is timed")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="FOLDER")
    arguments = parser.parse_args()
    theirs = arguments.improved_diffusion
    if theirs is not None and not (theirs / "improved_diffusion").is_dir():
        parser.error(f"{theirs} is no checkout of improved-diffusion: it holds no folder improved_diffusion")
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found: dict[str, Any] = {"machine": timing.machine()}
    theirs = contenders.improved_diffusion(theirs)
    for section in arguments.only:
        for model in arguments.models if section in ("sampling", "training") else arguments.models[:1]:
            print(f"{section} of {model} …", flush=True)
            found |= BENCHES[section](model, arguments.rounds, device, theirs)
            found |= share_of_measures(found)
            write(found, arguments.out, device)
    print(f"\n{markdown(found)}\n→ {arguments.out}/bench_{device.type}.json, .md")


def sampling(model: str, rounds: int, device: torch.device, theirs: Any) -> dict[str, Any]:
    experiment, batch = _experiment(model), WALKED[device.type][model]
    flop = forward_flop(experiment.model, experiment.diffusion) * batch * contenders.CALLS
    steps, walkers = experiment.analyze.ddim_steps, contenders.walkers(experiment, batch, device, theirs)
    timed = {
        way: timing.side_by_side({name: getattr(one, way) for name, one in walkers.items()}, rounds, device)
        for way in ("sampling", "inversion")
    }
    errors = _errors({name: one.eps() for name, one in walkers.items() if one.eps})
    return {
        f"{way}, {model}, batch {batch}, T = {steps}": _rows(*found, flop, batch * contenders.CALLS / steps, errors)
        for way, found in timed.items()
    }


def training(model: str, rounds: int, device: torch.device, theirs: Any) -> dict[str, Any]:
    experiment, batch = _experiment(model), TRAINED[device.type][model]
    flop = FORWARD_PASSES * forward_flop(experiment.model, experiment.diffusion) * batch
    runs = contenders.training_steps(experiment, batch, device, theirs)
    timed, products = timing.side_by_side(runs, rounds, device)
    errors = _errors({name: one.result for name, one in timed.items() if one.result is not None})
    return {f"training, {model}, batch {batch}": _rows(timed, products, flop, batch, errors)}


def of_measures(model: str, rounds: int, device: torch.device, theirs: Any) -> dict[str, Any]:
    taken = {name: measures.measure_apart(name, measures.SIDES[0]) for name in measures.MEASURED}
    all_s = {kind: sum(one[kind] for one in taken.values()) for kind in (measures.FIRST, measures.FURTHER)}
    return {"measures": taken} | {f"all measures, {kind}": seconds for kind, seconds in all_s.items()}


def share_of_measures(found: dict[str, Any]) -> dict[str, float]:
    """What measuring a further checkpoint of CIFAR-10 takes of generating it, in our fastest way, where both are known.

    Generated are the samples, their latents and the last checkpoint's latents, each in T calls for N images.
    """
    measured_s = found.get(f"all measures, {measures.FURTHER}")
    speeds = {
        way: max(row["images/s"] for name, row in rows.items() if name.startswith("ours"))
        for title, rows in found.items()
        for way in ("sampling", "inversion")
        if title.startswith(f"{way}, cifar10")
    }
    if measured_s is None or not speeds:
        return {}
    generated_s = measures.IMAGES * (1 / speeds["sampling"] + 2 / speeds["inversion"])
    return {f"all measures, share of generating N = {measures.IMAGES:,}": measured_s / generated_s}


def loading(model: str, rounds: int, device: torch.device, theirs: Any) -> dict[str, Any]:
    experiment = _experiment(model)
    return {"loader alone [images per busy second]": jobs.loader(experiment, experiment.train.batch_size, device)}


def of_jobs(model: str, rounds: int, device: torch.device, theirs: Any) -> dict[str, Any]:
    return {f"overhead of a job, {model} [busy seconds]": jobs.overhead(_experiment(model), device)}


def growth(model: str, rounds: int, device: torch.device, theirs: Any) -> dict[str, Any]:
    return {"growth": jobs.growth(_experiment(model), device)}


BENCHES: dict[str, Callable[[str, int, torch.device, Any], dict[str, Any]]] = {
    "sampling": sampling,
    "training": training,
    "measures": of_measures,
    "loader": loading,
    "jobs": of_jobs,
    "growth": growth,
}


def _experiment(model: str):
    return load(HERE.parent / "configs" / f"{model}.yaml", [])


def _rows(
    timed: dict[str, timing.Timed], products: dict[str, float], flop: float, images: float, errors: dict[str, float]
) -> dict[str, dict]:
    """images/s, how many times the first one's that is, FLOP/s and their share of a matrix product's, and so on."""
    rows: dict[str, dict] = {}
    for name, one in timed.items():
        rows[name] = {
            "images/s": images / one.seconds,
            "times the first": one.times_the_first,
            "by busy seconds": one.times_the_first_busy,
            "TFLOP/s": flop / one.seconds / 1e12,
            "share of a matrix product": flop / one.busy_s / products["bf16" if "bf16" in name else "fp32"],
            "first call [s]": one.first_s,
            "memory of a call [GiB]": one.extra_gib,
            "error": errors.get(name),
        }
    return rows | {"matrix product": {f"{name} TFLOP per busy second": rate / 1e12 for name, rate in products.items()}}


def _errors(found: dict[str, Tensor]) -> dict[str, float]:
    """‖found − exact‖ / ‖exact‖ of what variants put out for the same input, where our float32's is exact."""
    exact = found["ours fp32"].double()
    return {name: ((one.double() - exact).norm() / exact.norm()).item() for name, one in found.items()}


def write(found: dict[str, Any], folder: Path, device: torch.device) -> None:
    name = f"bench_{device.type}"
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / f"{name}.md").write_text(markdown(found))
    if "growth" in found:
        plot(found["growth"], folder / f"{name}_growth.png")


def markdown(found: dict[str, Any]) -> str:
    lines = [
        "# Speed, side by side",
        "",
        f"{timing.described(found['machine'])}.",
        "`make bench`: variants take turns, medians; FLOP counted of our network; the error is that of ε against our",
        "float32, in training that of the gradient's norm.",
    ]
    for title, rows in found.items():
        if isinstance(rows, dict) and title not in ("machine", "growth"):
            lines += ["", f"## {title[0].upper()}{title[1:]}", "", *_table(rows)]
        elif isinstance(rows, float):
            lines += ["", f"{title}: {rows:.3g}"]
    if "growth" in found:
        lines += ["", "## How generating grows: busy seconds (peak of the process meanwhile, GiB)", ""]
        for name, points in found["growth"].items():
            shown = "; ".join(f"{x}: {seconds:.2f} ({peak:.2f})" for x, (seconds, peak) in points.items())
            lines.append(f"* {name}: {shown}")
    return "\n".join(lines) + "\n"


def _table(rows: dict[str, Any]) -> list[str]:
    product = rows.get("matrix product")
    named = {name: row for name, row in rows.items() if name != "matrix product"}
    if not isinstance(next(iter(named.values())), dict):
        return [f"* {name}: {value:.2f}" for name, value in named.items()]
    columns = list(next(iter(named.values())))
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns)]
    lines += [
        f"| {name} | " + " | ".join(_shown(row[column]) for column in columns) + " |" for name, row in named.items()
    ]
    if product:
        lines += [
            "",
            "Matrix products in the same rounds: " + ", ".join(f"{k} {v:.3g}" for k, v in product.items()) + ".",
        ]
    return lines


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def plot(growths: dict[str, dict[int, tuple[float, float]]], path: Path) -> None:
    """Busy seconds over N, T and checkpoints, with the straight line through the first point and nothing."""
    figure, axes = plt.subplots(1, len(growths), figsize=(9, 2.8), layout="constrained")
    for axis, (name, points) in zip(axes, growths.items(), strict=True):
        x = [int(one) for one in points]
        y = [seconds for seconds, _ in points.values()]
        axis.plot(x, y, "o-")
        axis.plot([0, x[-1]], [0, y[0] * x[-1] / x[0]], ":", color="grey")
        axis.set(xlabel=name, ylabel="busy seconds" if name == "N" else "", xlim=(0, None), ylim=(0, None))
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
