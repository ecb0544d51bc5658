"""Timing side by side: variants take turns, so that whatever else the machine does hits all of them alike."""

import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.memory import extra_gib
from records.provenance import versions

MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class Timed:
    """What a variant took and returned: its first call, in which it is compiled, and medians over the rounds.

    `busy_s` is what processors worked for this process on a CPU, which other processes do not blur, and the same as
    `seconds` on a GPU. `times_the_first` and `times_the_first_busy` are how many times as fast as the first variant it
    was in the same round, and `extra_gib` is the memory that its second call took beside what was there before it.
    """

    first_s: float
    seconds: float
    busy_s: float
    times_the_first: float
    times_the_first_busy: float
    extra_gib: float
    result: Tensor | None


def side_by_side(
    variants: dict[str, Callable[[], Tensor | None]], rounds: int, device: torch.device
) -> tuple[dict[str, Timed], dict[str, float]]:
    """The times of variants that take turns, and the FLOP per busy second of matrix products in the same rounds."""
    first, extra, result = {}, {}, {}
    for name, run in variants.items():
        first[name] = seconds_of(run, device)[0]
        result[name], extra[name] = extra_gib(run, device)
        print(f"  {name}: first call {first[name]:.1f} s", flush=True)
    products = {name: _matrix_product(name, device) for name in TYPES}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in (*variants, *products)}
    for _ in range(rounds):
        for name, run in (variants | products).items():
            taken[name].append(seconds_of(run, device))
    baseline = taken[next(iter(variants))]
    timed = {
        name: Timed(first[name], *_medians(taken[name]), *_ratios(baseline, taken[name]), extra[name], result[name])
        for name in variants
    }
    return timed, {name: 2 * MATRIX_SIDE[device.type] ** 3 / _medians(taken[name])[1] for name in products}


def _medians(rows: list[tuple[float, float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def _ratios(baseline: list[tuple[float, float]], rows: list[tuple[float, float]]) -> list[float]:
    """Medians of what the baseline took divided by what a variant took right after it."""
    return _medians([(a / x, b / y) for (a, b), (x, y) in zip(baseline, rows, strict=True)])


def seconds_of(run: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds of a call, and those that were worked for it."""
    start_s, worked_s = time.perf_counter(), time.process_time()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return (time.perf_counter() - start_s,) * 2
    return time.perf_counter() - start_s, time.process_time() - worked_s


def _matrix_product(precision: str, device: torch.device) -> Callable[[], object]:
    """A product of square matrices, done once already: how fast the machine is when nothing is in its way."""
    side = MATRIX_SIDE[device.type]
    matrix = torch.randn(side, side, device=device, dtype=TYPES[precision])
    matrix @ matrix
    return lambda: matrix @ matrix


def machine() -> dict[str, Any]:
    """Where and when: what makes numbers comparable."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {
        "date": datetime.date.today().isoformat(),
        "device": device,
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 1),
        "versions": versions(),
    }


def described(about: dict[str, Any]) -> str:
    """What `machine` found, in a line."""
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    return (
        f"{about['date']}, {about['device']}, {about['cores']} cores, {about['threads']} threads, load before "
        f"{about['load_before']}; {versions}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    about = dict(line.split(":", 1) for line in lines if ":" in line)
    name = next((value.strip() for key, value in about.items() if key.strip() == "model name"), platform.machine())
    return name + (" with AMX" if any("amx_bf16" in value for value in about.values()) else "")
