"""Readers of an analysis: results of measures, generated tensors and their slices, results of inverters."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from fuzz.mutations import NUMBERS, dumps
from fuzz.reader import Reader, Tree, by_name
from fuzz.study_readers import tiny
from safetensors.torch import save as serialize

from analyze import slices
from analyze.analysis import SeedAnalysis
from analyze.curves import curves
from analyze.generations import Generations
from analyze.measures.inverters import InverterResult, inverters
from analyze.report import inversion_errors
from analyze.report.findings import findings
from analyze.report.inverters import mean_results
from analyze.report.paper_tables import tables
from analyze.report.study import missing, numbers_section, unavailable
from models.unet import UNet
from records import checkpoint
from records.atomic import write_json
from records.layout import seed_folder
from records.sealed import read_sealed

STEPS = (0, 2, 8)


def write_checkpoints(folder: Path) -> list[SeedAnalysis]:
    """Write untrained checkpoints of every seed, and return the analyses of the seeds."""
    experiment = tiny(folder)
    for seed in experiment.seeds:
        for step in STEPS:
            torch.manual_seed(step + seed)
            weights = {"ema_0.99": UNet.from_config(experiment.model, experiment.diffusion).state_dict()}
            path = seed_folder(experiment, seed).checkpoint(step)
            checkpoint.write(path, step, seed, experiment.model, experiment.diffusion, weights)
    return [SeedAnalysis(experiment, seed) for seed in experiment.seeds]


# --- results


def write_results(folder: Path) -> None:
    for analysis in write_checkpoints(folder):
        analysis.analyze(analysis.missing())
    for tensors in folder.rglob("*.safetensors"):
        tensors.unlink()
    remove_digests(folder, is_result)


def remove_digests(folder: Path, are_sealed: Callable[[str], bool]) -> None:
    """Make results those of version 0.2; with their digest, every change would be noticed before it is read."""
    for file in folder.rglob("*.json"):
        if are_sealed(str(file.relative_to(folder))):
            write_json(file, read_sealed(file))


def read_results(folder: Path) -> None:
    """Read all results of a study for its report, except the pictures."""
    experiment = tiny(folder)
    analyses = [SeedAnalysis(experiment, seed) for seed in experiment.seeds]
    missing(experiment)
    unavailable(analyses)
    measured = curves(analyses)
    findings(experiment, measured)
    inversion_errors.findings(analyses)
    mean_results(analyses)
    numbers_section(measured)
    tables(experiment)


def is_result(name: str) -> bool:
    return Path(name).parent.parent.name == "analysis" and name.endswith(".json")


OTHERS: list[Any] = [None, [], {}, "x", 3, [1.0], {"x": None}, [{}], float("nan"), 10**400]


def hostile_results(tree: Tree, executed: Path) -> Iterator[Tree]:
    """Yield results of other versions: without a part, with parts of other types, with unknown measures."""
    name = max(filter(is_result, tree))  # the last step, which has all measures
    content = json.loads(tree[name])
    for document in _other_versions(content):
        yield tree | {name: dumps(document)}
    for measure in content["measures"]:
        for document in _other_versions(content["measures"][measure]):
            yield tree | {name: dumps(content | {"measures": content["measures"] | {measure: document}})}
        for document in _other_versions(content["measures"][measure]["values"]):
            result = content["measures"][measure] | {"values": document}
            yield tree | {name: dumps(content | {"measures": content["measures"] | {measure: result}})}


def _other_versions(document: dict[str, Any]) -> Iterator[Any]:
    yield from OTHERS
    yield document | {"future": {"values": {"x": 1}}}
    yield document | {"future": [1]}
    for key in document:
        yield {name: value for name, value in document.items() if name != key}
        yield from (document | {key: value} for value in OTHERS)


# --- generated tensors


def write_tensors(folder: Path) -> None:
    """Write the whole tensors of the last checkpoint, and slices of an earlier one."""
    analysis, *_ = write_checkpoints(folder)
    for name in slices.SLICED:
        analysis.generations(STEPS[-1])[name]
    for name in ("samples", "latents"):
        slices.fill(analysis.generations(STEPS[1]), name, range(8), 5)


def read_tensors(folder: Path) -> None:
    """Read slices and whole tensors, and measure them; what is missing is generated."""
    analysis = SeedAnalysis(tiny(folder), 0, only="triangle")
    last, earlier = analysis.generations(STEPS[-1]), analysis.generations(STEPS[1])
    for name in slices.SLICED:
        slices.missing(last, name, range(8))
        last[name]
    earlier.slice(range(2, 7))["latents"]
    for step in (STEPS[-1], STEPS[1]):
        analysis._measure(step, lambda name: None)


def is_tensor(name: str) -> bool:
    return "/generations/" in name


SHAPES = [(), (0,), (8,), (8, 64), (8, 1, 8, 9), (3, 1, 8, 8), (5, 2, 8, 8), (2, 8, 1, 8, 8), (0, 1, 8, 8)]
TYPES = [torch.bool, torch.int64, torch.float16, torch.float64, torch.complex64, torch.float8_e4m3fn]


def hostile_tensors(tree: Tree, executed: Path) -> Iterator[Tree]:
    """Yield tensors of other shapes, types and files, and slices whose names state other images."""
    files = list(filter(is_tensor, tree))
    for file in files:
        name = Path(file).stem.partition("-")[0]
        tensors = [torch.zeros(shape) for shape in SHAPES]
        tensors += [torch.zeros(length, 1, 8, 8).to(dtype) for dtype in TYPES for length in (3, 5, 8)]
        alone = {other: data for other, data in tree.items() if not is_tensor(other)}  # others are computed from it
        for content in (serialize({name: tensor}) for tensor in tensors):
            yield from (tree | {file: content}, alone | {file: content})
        yield from (tree | {file: tree[other]} for other in files)
    for file in (file for file in files if "/slices/" in file):
        yield from _of_other_images(tree, file)


def _of_other_images(tree: Tree, file: str) -> Iterator[Tree]:
    """Yield a slice whose name states other images, which may be none or more than memory can hold."""
    name, *_ = file.rsplit("-", 2)
    for start, stop in itertools.product((0, 2, 5, 2**32, 10**30), (0, 5, 2**63, 10**30, "9" * 200, "٥")):
        yield tree | {f"{name}-{start:0>9}-{stop:0>9}.safetensors": tree[file]}


# --- results of inverters

COMPARED = ["naive (diffusers)", "fixed point"]


def compared(folder: Path) -> Generations:
    return SeedAnalysis(tiny(folder), 0).generations(STEPS[-1])


def compare(generations: Generations) -> dict[str, Any]:
    return inverters(generations, inverters=COMPARED, inverter_nfe=[8], inverter_images=4)


def write_inverters(folder: Path) -> None:
    write_checkpoints(folder)
    compare(compared(folder))
    remove_digests(folder, is_inverter)


def read_inverters(folder: Path) -> None:
    for result in compare(compared(folder))["results"].values():
        InverterResult.from_json(result)


def is_inverter(name: str) -> bool:
    return Path(name).parent.name == "inverters" and name.endswith(".json")


def hostile_inverters(tree: Tree, executed: Path) -> Iterator[Tree]:
    """Yield statistics of other versions and methods, also of inverters that are not compared now."""
    for name in filter(is_inverter, tree):
        content = json.loads(tree[name])
        values = content["values"]
        documents = [*_other_versions(content)]
        for part in ("recovery", "latents"):
            documents += [content | {"values": values | {part: other}} for other in _other_versions(values[part])]
        documents += [content | {"values": other} for other in _other_versions(values)]
        documents += [content | {"values": values | {"rounds": rounds}} for rounds in (*NUMBERS, 0.5, "1", [1], {})]
        for document in map(dumps, documents):
            yield tree | {name: document}
            yield tree | {name.replace("-N4", "-other-N4"): document}


READERS = by_name(
    Reader("results", write_results, read_results, examples=hostile_results, reads=is_result),
    Reader("generated tensors", write_tensors, read_tensors, examples=hostile_tensors, reads=is_tensor),
    Reader("results of inverters", write_inverters, read_inverters, examples=hostile_inverters, reads=is_inverter),
)
