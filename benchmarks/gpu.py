"""`python -m benchmarks.gpu [--minutes M] [key=value …]`: what is worth measuring in a limited time on a GPU.

Runs the stages below in order of worth, each as a process with a time limit, and writes output and summary after each.
Training takes the time that is left, saves its state when it ends, and is resumed by the same command; key=value are
options of the experiment.
"""

import argparse
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import timing
from records.atomic import write_json, write_text
from records.progress import progress

HERE = Path(__file__).parent
ANALYSIS_SHARE = 0.25  # of the total time
STOP_S = 30.0  # from SIGTERM to SIGKILL: training saves its state
SHORT_RUN = [
    "seeds=[0]",
    "wandb.mode=disabled",
    "train.checkpoints.at=[0,100,400,1000,2500,5000,10000,20000]",
    "train.checkpoints.strides=[]",
]


@dataclass(frozen=True)
class Stage:
    """A command with its time limit, as a fraction of the total time; None: what is left, except for the analysis."""

    name: str
    share: float | None
    command: list[str]


@dataclass(frozen=True)
class Outcome:
    """The end of a stage; `status` is None if it was killed at its limit."""

    name: str
    command: str
    limit_s: float
    seconds: float
    status: int | None
    timed_out: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25.0, help="total time")
    parser.add_argument(
        "--only", nargs="+", metavar="STAGE", help="some of: tests speed precision profile train analyze"
    )
    parser.add_argument("--config", default="configs/cifar10.yaml", help="the experiment that is profiled and trained")
    parser.add_argument("--improved-diffusion", metavar="PATH", help="its checkout, for the comparison of speed")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "gpu", metavar="FOLDER")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    arguments = parser.parse_intermixed_args()
    chosen = stages(arguments.config, arguments.overrides, arguments.improved_diffusion, arguments.out)
    if unknown := set(arguments.only or []) - {stage.name for stage in chosen}:
        parser.error(f"unknown stage {sorted(unknown)[0]}; stages are {' '.join(stage.name for stage in chosen)}")
    chosen = [stage for stage in chosen if arguments.only is None or stage.name in arguments.only]
    print(summary(run_all(chosen, arguments.minutes * 60, arguments.out)))


def stages(config: str, overrides: list[str], improved_diffusion: str | None, out: Path) -> list[Stage]:
    """Return all stages in order of worth."""
    python, experiment = [sys.executable, "-m"], [config, "name=gpu", *SHORT_RUN, *overrides]
    checkout = ["--improved-diffusion", improved_diffusion] if improved_diffusion else []
    sections = ["--only", "training", "sampling", "--models", "cifar10", "--rounds", "3"]
    precision = ["--ddim-steps", "10", "--images", "2048"]
    return [
        Stage("tests", 0.2, [*python, "pytest", "-q", "-m", "gpu", "tests"]),
        Stage("speed", 0.16, [*python, "benchmarks.bench", *sections, *checkout, "--out", str(out)]),
        Stage("precision", 0.08, [*python, "benchmarks.precision", *precision, "--out", str(out)]),
        Stage("profile", 0.06, [*python, "benchmarks.profile", *experiment]),
        Stage("train", None, [*python, "train", *experiment]),
        Stage("analyze", ANALYSIS_SHARE, [*python, "analyze", *experiment]),
    ]


def run_all(chosen: list[Stage], total_s: float, out: Path) -> list[Outcome]:
    """Run stages one after the other; their total time is about `total_s`."""
    end_s, outcomes = time.monotonic() + total_s, list[Outcome]()
    out.mkdir(parents=True, exist_ok=True)
    with progress("stages", len(chosen), "stage") as bar:
        for stage in chosen:
            bar.set_postfix_str(stage.name)
            reserved_s = ANALYSIS_SHARE * total_s if stage.share is None and chosen[-1].name == "analyze" else 0.0
            left_s = end_s - time.monotonic() - reserved_s
            limit_s = left_s if stage.share is None else min(left_s, stage.share * total_s)
            outcomes.append(run(stage, max(limit_s, 1.0), out / f"{stage.name}.txt"))
            write_json(out / "gpu.json", {"machine": timing.machine(), "stages": [asdict(item) for item in outcomes]})
            write_text(out / "gpu.md", summary(outcomes))
            bar.update()
    return outcomes


def run(stage: Stage, limit_s: float, output: Path) -> Outcome:
    """Run a stage with its output in a file; at its limit, stop it by SIGTERM, and later by SIGKILL."""
    started_s, timed_out = time.monotonic(), False
    with open(output, "w", encoding="utf-8") as file:
        process = subprocess.Popen(stage.command, stdout=file, stderr=subprocess.STDOUT, cwd=HERE.parent)
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            _stop(process)
    status = None if process.returncode == -signal.SIGKILL else process.returncode
    return Outcome(stage.name, " ".join(stage.command[1:]), limit_s, time.monotonic() - started_s, status, timed_out)


def _stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def summary(outcomes: list[Outcome]) -> str:
    lines = ["| stage | seconds | limit [s] | exit status | command |", "|---|--:|--:|---|---|"]
    for item in outcomes:
        status = f"{item.status}{', stopped at the limit' if item.timed_out else ''}"
        lines.append(f"| {item.name} | {item.seconds:.0f} | {item.limit_s:.0f} | {status} | `python {item.command}` |")
    return "\n".join(["# Measurements on a GPU", "", timing.describe(timing.machine()), "", *lines, ""])


if __name__ == "__main__":
    main()
