"""Interleaved timing: variants take turns, so that other load on the machine affects all of them equally."""

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
from records.cores import available_cores
from records.provenance import versions

MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass
class Timing:
    """Times of a variant and its result: the first call, which compiles it, and medians over the rounds.

    `compute_s` is the CPU time of this process on a CPU, which is insensitive to other processes, and equals `seconds`
    on a GPU. `speedup` and `compute_speedup` are relative to the first variant in the same round. `extra_gib` is the
    peak memory of the second call in excess of the memory in use before it.
    """

    first_s: float
    seconds: float
    compute_s: float
    speedup: float
    compute_speedup: float
    extra_gib: float
    result: Tensor | None


def time_interleaved(
    variants: dict[str, Callable[[], Tensor | None]], rounds: int, device: torch.device, calls: int = 1
) -> tuple[dict[str, Timing], dict[str, float]]:
    """Time variants in turns, each for a number of calls without synchronization of the GPU.

    Also return the FLOP per compute second of matrix products in the same rounds, by their precision.
    """
    first, extra, result = {}, {}, {}
    for name, run in variants.items():
        first[name] = time_call(run, device)[0]
        result[name], extra[name] = extra_gib(run, device)
        print(f"  {name}: first call {first[name]:.1f} s", flush=True)
    matmuls = {name: _matmul(name, device) for name in TYPES}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in (*variants, *matmuls)}
    for _ in range(rounds):
        for name, run in (variants | matmuls).items():
            times[name].append(time_call(run, device, calls))
    baseline = times[next(iter(variants))]
    timed = {
        name: Timing(first[name], *_medians(times[name]), *_ratios(baseline, times[name]), extra[name], result[name])
        for name in variants
    }
    return timed, {name: 2 * MATRIX_SIDE[device.type] ** 3 / _medians(times[name])[1] for name in matmuls}


def _medians(rows: list[tuple[float, float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def _ratios(baseline: list[tuple[float, float]], rows: list[tuple[float, float]]) -> list[float]:
    """Return the median over rounds of the baseline's time divided by the variant's, for both kinds of time."""
    return _medians([(a / x, b / y) for (a, b), (x, y) in zip(baseline, rows, strict=True)])


def time_call(run: Callable[[], object], device: torch.device, calls: int = 1) -> tuple[float, float]:
    """Return the wall-clock seconds and the compute seconds per call, see `Timing`; a GPU is awaited after the last."""
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    for _ in range(calls):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return ((time.perf_counter() - start_s) / calls,) * 2
    return (time.perf_counter() - start_s) / calls, (time.process_time() - start_cpu_s) / calls


def _matmul(precision: str, device: torch.device) -> Callable[[], object]:
    """Return a product of square matrices, already warmed up, as a measure of the machine's speed."""
    side = MATRIX_SIDE[device.type]
    matrix = torch.randn(side, side, device=device, dtype=TYPES[precision])
    matrix @ matrix
    return lambda: matrix @ matrix


def machine() -> dict[str, Any]:
    """Describe the machine, the date and the versions, which make numbers comparable."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {
        "date": datetime.date.today().isoformat(),
        "device": device,
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 1),
        "versions": versions(),
    }


def describe(machine: dict[str, Any]) -> str:
    """Format the result of `machine` as one line."""
    versions = ", ".join(f"{name} {value}" for name, value in machine["versions"].items())
    return (
        f"{machine['date']}, {machine['device']}, {machine['cores']} cores, {machine['threads']} threads, "
        f"load before {machine['load_before']}; {versions}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    name = next((value.strip() for key, value in fields.items() if key.strip() == "model name"), platform.machine())
    return name + (" with AMX" if any("amx_bf16" in value for value in fields.values()) else "")
