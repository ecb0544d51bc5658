"""How fast training is, and how fast the hardware could be."""

import time
from dataclasses import dataclass, field

import torch

# Peak of dense bf16 or fp16 matrix products in FLOP/s, from the makers' data sheets; tf32 has half of it.
PEAK_FLOP_PER_S = {
    "H200": 989e12,
    "H100": 989e12,
    "GH200": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "V100": 125e12,
    "RTX 4090": 165e12,
}
SHARE_OF_PEAK = {"bf16": 1.0, "fp16": 1.0, "tf32": 0.5}


def peak_flop_per_s(device: torch.device, precision: str) -> float | None:
    """The device's peak in a precision, or None where it is not known."""
    if device.type != "cuda" or precision not in SHARE_OF_PEAK:
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak * SHARE_OF_PEAK[precision] for key, peak in PEAK_FLOP_PER_S.items() if key in name), None)


@dataclass
class Throughput:
    """Speed since the last look: images/s and FLOP/s over all processes, and the share of the peak."""

    flop_per_image: float
    processes: int
    device: torch.device
    precision: str
    seen_images: int = 0
    seen_at_s: float = field(default_factory=time.monotonic)

    def measure(self, images: int) -> dict[str, float]:
        """Numbers for the log, by name, after `images` images of the run."""
        now_s = time.monotonic()
        images_per_s = (images - self.seen_images) / max(now_s - self.seen_at_s, 1e-9)
        self.seen_images, self.seen_at_s = images, now_s
        seen = {"images_per_s": images_per_s, "tflop_per_s": images_per_s * self.flop_per_image / 1e12}
        peak = peak_flop_per_s(self.device, self.precision)
        if peak:
            seen["mfu"] = seen["tflop_per_s"] * 1e12 / (peak * self.processes)
        if self.device.type == "cuda":
            seen["memory_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
        return seen
