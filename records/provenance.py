"""What produced a number: versions of the code and of the libraries it stands on, and the machine."""

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

# What SLURM says to its jobs, as submitit's jobs and arrays need it to be found again.
SLURM = ("JOB_ID", "JOB_NAME", "ARRAY_JOB_ID", "ARRAY_TASK_ID", "RESTART_COUNT", "NODELIST", "PARTITION")
COMMIT_FILE = Path(__file__).parent.parent / "commit"  # in a copy of the code that jobs run
LIBRARIES = ("torch", "accelerate", "numpy", "torchmetrics")


@functools.cache
def versions() -> dict[str, str]:
    """Versions by name: Python, the libraries that compute, and this project's commit where there is one."""
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES},
        "noisemap": commit(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def environment() -> dict[str, Any]:
    """Where this process runs, which changes no number: the host, its accelerators, and the job where SLURM made it."""
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    slurm = {name.lower(): os.environ[f"SLURM_{name}"] for name in SLURM if f"SLURM_{name}" in os.environ}
    processes = int(os.environ.get("WORLD_SIZE", 1))
    return {"host": platform.node(), "devices": devices, "processes": processes, "slurm": slurm}


def commit() -> str:
    """The commit of the project's checkout, "+changes" where files differ from it, "unknown" outside of git."""
    if COMMIT_FILE.exists():
        return COMMIT_FILE.read_text(encoding="utf-8")
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=+changes", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()
