"""Provenance of results: versions of the code and the libraries, and the machine."""

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

# Variables of SLURM that identify a job or an element of an array, and its nodes.
SLURM = ("JOB_ID", "JOB_NAME", "ARRAY_JOB_ID", "ARRAY_TASK_ID", "RESTART_COUNT", "NODELIST", "PARTITION")
COMMIT_FILE = Path(__file__).parent.parent / "commit"  # in a snapshot of the code for jobs
LIBRARIES = ("torch", "accelerate", "numpy", "torchmetrics")


@functools.cache
def versions() -> dict[str, str]:
    """Return versions by name: Python, the numerical libraries and this project's commit."""
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES},
        "noisemap": commit(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def environment() -> dict[str, Any]:
    """Return the host, its accelerators, the number of processes and the SLURM job; none of them affects results."""
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    slurm = {name.lower(): os.environ[f"SLURM_{name}"] for name in SLURM if f"SLURM_{name}" in os.environ}
    processes = int(os.environ.get("WORLD_SIZE", 1))
    return {"host": platform.node(), "devices": devices, "processes": processes, "slurm": slurm}


def commit() -> str:
    """Return the commit of the checkout, with "+changes" if files differ from it, or "unknown" outside of git."""
    if COMMIT_FILE.exists():
        return COMMIT_FILE.read_text(encoding="utf-8")
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty=+changes", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return result.stdout.strip()
