"""Training throughput, also as a fraction of the rate of a large matrix product on the same device."""

import time
from dataclasses import dataclass, field

import torch

MATRIX_SIDE, PRODUCTS = 8192, 10  # 14 ms on an H100 in bf16
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def matmul_flop_per_s(device: torch.device, precision: str, side: int = MATRIX_SIDE) -> float:
    """Measure the FLOP/s of a product of square matrices in a precision: the peak that a network can approach.

    Vendors state a higher peak, which no computation reaches: 989 TFLOP/s for an H100 in bf16, of which a product
    reaches about 80 %.
    """
    matrix = torch.randn(side, side, device=device, dtype=DTYPES[precision])
    product = torch.empty_like(matrix)

    def seconds() -> float:
        started_s = time.perf_counter()
        for _ in range(PRODUCTS):
            torch.mm(matrix, matrix, out=product)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter() - started_s

    seconds()  # warm up
    return 2 * side**3 * PRODUCTS / seconds()


@dataclass
class Throughput:
    """Throughput since the last measurement: images/s, FLOP/s of all processes, and model FLOP utilization on GPUs."""

    flop_per_image: float
    processes: int
    device: torch.device
    peak_flop_per_s: float | None = None  # of one process
    last_images: int = 0
    last_time_s: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Start the clock of the first measurement."""
        self.last_time_s = time.monotonic()

    def measure(self, images: int) -> dict[str, float]:
        """Return the values for the log, by name, after `images` images of the run."""
        now_s = time.monotonic()
        images_per_s = (images - self.last_images) / max(now_s - self.last_time_s, 1e-9)
        self.last_images, self.last_time_s = images, now_s
        speed = {"images_per_s": images_per_s, "tflop_per_s": images_per_s * self.flop_per_image / 1e12}
        if self.peak_flop_per_s is not None:
            speed["mfu"] = speed["tflop_per_s"] * 1e12 / (self.peak_flop_per_s * self.processes)
        if self.device.type == "cuda":
            speed["memory_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
        return speed
