"""What produced a number: versions of the code and of the libraries it stands on, and the machine."""

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

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


COMMIT_FILE = Path(__file__).parent.parent / "commit"  # in a copy of the code that jobs run


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
