"""Training throughput, and the peak of the hardware for comparison."""

import time
from dataclasses import dataclass, field

import torch

# Peak FLOP/s of dense bf16 or fp16 matrix products, from the vendors' data sheets.
PEAK_FLOP_PER_S = {
    "H200": 989e12,
    "H100": 989e12,
    "GH200": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "V100": 125e12,
    "RTX 4090": 165e12,
}
PEAK_FRACTION = {"bf16": 1.0, "fp16": 1.0, "tf32": 0.5}  # fraction of that peak, by precision


def peak_flop_per_s(device: torch.device, precision: str) -> float | None:
    """Return the device's peak FLOP/s at a precision, or None if unknown."""
    if device.type != "cuda" or precision not in PEAK_FRACTION:
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak * PEAK_FRACTION[precision] for key, peak in PEAK_FLOP_PER_S.items() if key in name), None)


@dataclass
class Throughput:
    """Throughput since the last measurement: images/s and FLOP/s of all processes, and model FLOP utilization."""

    flop_per_image: float
    processes: int
    device: torch.device
    precision: str
    last_images: int = 0
    last_time_s: float = field(default_factory=time.monotonic)

    def measure(self, images: int) -> dict[str, float]:
        """Return the values for the log, by name, after `images` images of the run."""
        now_s = time.monotonic()
        images_per_s = (images - self.last_images) / max(now_s - self.last_time_s, 1e-9)
        self.last_images, self.last_time_s = images, now_s
        speed = {"images_per_s": images_per_s, "tflop_per_s": images_per_s * self.flop_per_image / 1e12}
        peak = peak_flop_per_s(self.device, self.precision)
        if peak:
            speed["mfu"] = speed["tflop_per_s"] * 1e12 / (peak * self.processes)
        if self.device.type == "cuda":
            speed["memory_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
        return speed
