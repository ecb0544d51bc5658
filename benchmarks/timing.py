"""Timing side by side: variants take turns, so that whatever else the machine does hits all of them alike."""

import datetime
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from records.provenance import versions

MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def side_by_side(variants: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, dict]:
    """Of each variant the median seconds, all seconds, and the FLOP/s of matrix products measured in the same rounds.

    "cpu_s" is the median of the seconds that processors worked for this process: with one thread, what the median
    would be on a machine that nobody else uses. Each is called once before, which is where it is compiled: those seconds are told as "first_s". On a GPU "peak_gb"
    is the memory that its calls took at most.
    """
    found: dict[str, dict] = {}
    for name, run in variants.items():
        found[name] = {"first_s": seconds(run, device), "all_s": [], "all_cpu_s": []}
        print(f"  {name}: first call {found[name]['first_s']:.1f} s", flush=True)
    products = {name: matrix_product(name, device) for name in TYPES}
    rates: dict[str, list[float]] = {name: [] for name in TYPES}
    for _ in range(rounds):
        for name, run in variants.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            before_s = time.process_time()
            found[name]["all_s"].append(seconds(run, device))
            found[name]["all_cpu_s"].append(time.process_time() - before_s)
            if device.type == "cuda":
                found[name]["peak_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
        for name, product in products.items():
            rates[name].append(2 * MATRIX_SIDE[device.type] ** 3 / seconds(product, device))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for one in found.values():
        one |= {"seconds": statistics.median(one["all_s"]), "cpu_s": statistics.median(one["all_cpu_s"])}
    return {name: one | {"matrix": medians} for name, one in found.items()}


def seconds(run: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def matrix_product(precision: str, device: torch.device) -> Callable[[], object]:
    """A product of square matrices, done once already: how fast the machine is when nothing is in its way."""
    side = MATRIX_SIDE[device.type]
    matrix = torch.randn(side, side, device=device, dtype=TYPES[precision])
    matrix @ matrix
    return lambda: matrix @ matrix


def machine() -> dict[str, object]:
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


def peak_gib() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    about = dict(line.split(":", 1) for line in lines if ":" in line)
    name = next((value.strip() for key, value in about.items() if key.strip() == "model name"), platform.machine())
    return name + (" with AMX" if any("amx_bf16" in value for value in about.values()) else "")
