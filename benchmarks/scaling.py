"""`python -m benchmarks.scaling`: simulate the analysis of a study on 1 to 1,000 GPUs, and plot time and efficiency.

The jobs are those that `python -m launch configs/cifar10.yaml --cluster slurm` submits for trained seeds. Their costs
were measured, except for the speed of a GPU and of the shared file system, which are options.
"""

import argparse
import heapq
import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt

from analyze.estimate import TENSORS, evaluations_per_image
from configs.load import load
from configs.schema import Experiment
from launch.jobs import Analyze
from launch.plan import Job, plan
from models.flops import forward_flop
from records.atomic import atomic_file, write_text

HERE = Path(__file__).parent
GPUS = (1, 3, 10, 30, 100, 300, 1000)
IMAGES = (2048, 10_000, 50_000)
WEIGHTS_BYTES = 210e6  # of one average of the weights, see docs/formats.md
START_S, OPEN_S = 3.65, 0.6  # Python with imports, and opening a checkpoint: benchmarks/results/bench_cpu.md
# Measuring a further checkpoint with D = 3,072 on two cores, without hungarian, transport_gap and measures that run the
# network: benchmarks/results/measures.md. A GPU shortens it. kNN coverage takes N².
MEASURE_S, MEASURE_S_PER_IMAGE, MEASURE_S_PER_PAIR = 4.0, 5.4e-3, 5.0e-7


@dataclass(frozen=True)
class Costs:
    """Costs of analyzing a checkpoint: phases of reading and writing in bytes, and of computing in seconds."""

    read_bytes: float
    compute_s: float
    write_bytes: float

    @property
    def seconds(self) -> float:
        return OPEN_S + self.compute_s


@dataclass
class Disk:
    """A file system whose bandwidth all current transfers share equally; `served` is the bytes per transfer so far."""

    bytes_per_s: float
    served: float = 0.0
    time_s: float = 0.0
    transfers: list[tuple[float, int]] = field(default_factory=list)  # heap of (value of `served` at the end, job)

    def advance(self, time_s: float) -> None:
        if self.transfers:
            self.served += (time_s - self.time_s) * self.bytes_per_s / len(self.transfers)
        self.time_s = time_s

    def start(self, size: float, job: int) -> None:
        heapq.heappush(self.transfers, (self.served + size, job))

    def next_end_s(self) -> float:
        if not self.transfers:
            return math.inf
        return self.time_s + max(0.0, self.transfers[0][0] - self.served) * len(self.transfers) / self.bytes_per_s


@dataclass(frozen=True)
class Outcome:
    """Time until all checkpoints are analyzed, and the fraction of the GPUs' time in which they generated."""

    hours: float
    efficiency: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflops", type=float, default=100.0, help="speed of a GPU when it generates [TFLOP/s]")
    parser.add_argument("--disk", type=float, default=5.0, help="bandwidth of the shared file system [GB/s]")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="FOLDER")
    parser.add_argument("--plot", type=Path, default=HERE.parent / "docs" / "images" / "scaling.png", metavar="PNG")
    arguments = parser.parse_args()
    outcomes = {}
    for images, gpus in itertools.product(IMAGES, GPUS):
        outcomes[images, gpus] = simulate(study(images, gpus), gpus, arguments.tflops * 1e12, arguments.disk * 1e9)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out / "scaling.csv", csv(outcomes))
    with atomic_file(arguments.plot) as partial:
        plot(outcomes, partial)
    print(csv(outcomes), end="")


def study(images: int, gpus: int, **changes: object) -> Experiment:
    overrides = [f"analyze.samples={images}", f"cluster.max_parallel={gpus}", "runs=/nonexistent"]
    return load("configs/cifar10.yaml", [*overrides, *(f"{key}={value}" for key, value in changes.items())], "slurm")


def costs(experiment: Experiment, flop_per_s: float) -> Costs:
    """Return the costs of a checkpoint that is not the last; those of the last are similar."""
    images, model = experiment.analyze.samples, experiment.model
    tensor_bytes = 4 * images * model.in_channels * model.image_size**2
    measure_s = MEASURE_S + MEASURE_S_PER_IMAGE * images + MEASURE_S_PER_PAIR * images**2
    compute_s = generating_s(experiment, flop_per_s) + measure_s
    return Costs(WEIGHTS_BYTES + tensor_bytes, compute_s, TENSORS * tensor_bytes)


def generating_s(experiment: Experiment, flop_per_s: float) -> float:
    """Return the GPU's time per checkpoint."""
    flop = forward_flop(experiment.model, experiment.diffusion) * experiment.analyze.samples
    return evaluations_per_image(experiment.analyze) * flop / flop_per_s


def simulate(experiment: Experiment, gpus: int, flop_per_s: float, disk_bytes_per_s: float) -> Outcome:
    """Return how long the analysis takes if jobs start as soon as they may and a GPU is free."""
    cost = costs(experiment, flop_per_s)
    experiment.cluster.checkpoint_minutes = cost.seconds / 60
    jobs = [job for job in plan(experiment) if isinstance(job.work, Analyze)]
    checkpoints = sum(len(job.work.steps) for job in jobs)
    seconds = Cluster(jobs, cost, gpus, experiment.cluster.max_parallel, Disk(disk_bytes_per_s)).run()
    return Outcome(seconds / 3600, checkpoints * generating_s(experiment, flop_per_s) / (gpus * seconds))


class Cluster:
    """GPUs that run jobs in order; a job starts when those that it needs have ended and fewer than a limit run."""

    def __init__(self, jobs: list[Job], cost: Costs, gpus: int, max_parallel: int, disk: Disk):
        self.jobs, self.cost, self.free, self.max_parallel, self.disk = jobs, cost, gpus, max_parallel, disk
        self.waiting = list(range(len(jobs)))
        self.running: dict[str | int | None, int] = {}  # jobs by seed
        self.ended: set[str] = {need for job in jobs for need in job.needs} - {job.name for job in jobs}  # trained
        self.events: list[tuple[float, int]] = []  # heap of ends of computations
        self.phases: dict[int, list[tuple[str, float]]] = {}  # remaining phases of running jobs, last first

    def run(self) -> float:
        """Return the time at which the last job ends, in seconds."""
        time_s = 0.0
        self._start_jobs(time_s)
        while self.phases:
            computed_s, transferred_s = self.events[0][0] if self.events else math.inf, self.disk.next_end_s()
            time_s = min(computed_s, transferred_s)
            self.disk.advance(time_s)
            heap = self.events if computed_s <= transferred_s else self.disk.transfers
            self._continue(heapq.heappop(heap)[1], time_s)
        assert not self.waiting, "a job can never start"
        return time_s

    def _start_jobs(self, time_s: float) -> None:
        for index in [index for index in self.waiting if self._may_start(self.jobs[index])]:
            job = self.jobs[index]
            if not self.free or self.running.get(job.work.group, 0) >= self.max_parallel:
                continue
            self.free -= 1
            self.running[job.work.group] = self.running.get(job.work.group, 0) + 1
            self.waiting.remove(index)
            checkpoint = [
                ("disk", self.cost.read_bytes),
                ("compute", self.cost.seconds),
                ("disk", self.cost.write_bytes),
            ]
            self.phases[index] = [("compute", START_S), *checkpoint * len(job.work.steps)][::-1]
            self._continue(index, time_s)

    def _may_start(self, job: Job) -> bool:
        return set(job.needs) <= self.ended

    def _continue(self, index: int, time_s: float) -> None:
        """Start the next phase of a job, or end it."""
        if self.phases[index]:
            kind, amount = self.phases[index].pop()
            if kind == "disk":
                self.disk.start(amount, index)
            else:
                heapq.heappush(self.events, (time_s + amount, index))
            return
        job = self.jobs[index]
        del self.phases[index]
        self.ended.add(job.name)
        self.free += 1
        self.running[job.work.group] -= 1
        self._start_jobs(time_s)


def csv(outcomes: dict[tuple[int, int], Outcome]) -> str:
    lines = [f"{images},{gpus},{item.hours:.4g},{item.efficiency:.3f}" for (images, gpus), item in outcomes.items()]
    return "\n".join(["images,gpus,hours,efficiency", *lines, ""])


def plot(outcomes: dict[tuple[int, int], Outcome], file: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for images in IMAGES:
        items = [outcomes[images, gpus] for gpus in GPUS]
        left.loglog(GPUS, [item.hours for item in items], "o-", label=f"N = {images:,}")
        right.semilogx(GPUS, [item.efficiency for item in items], "o-", label=f"N = {images:,}")
    left.set(xlabel="GPUs", ylabel="time [hours]")
    right.set(xlabel="GPUs", ylabel="fraction of GPU time spent generating", ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    right.legend()
    figure.savefig(file, format="png", dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
