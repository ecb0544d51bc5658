"""Connection of the processes that train together, and the precision and determinism of their kernels."""

import os
import signal

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from configs.errors import RERUN, UserError, first_line
from models.compiled import allow_tf32

MIXED_PRECISION = {"fp32": "no", "tf32": "no", "bf16": "bf16", "fp16": "fp16"}
CUBLAS_WORKSPACE = ":4096:8"  # one of the two sizes with which cuBLAS is deterministic


class Disconnected(UserError):
    """End of a training process that has lost another one, which was killed or whose node failed."""

    status = 128 + signal.SIGTERM  # as after a signal, so that a SLURM job is requeued

    def __init__(self, error: RuntimeError):
        super().__init__(f"the connection to another process of this training was lost ({first_line(error)}); {RERUN}")


def lost_connection(error: RuntimeError) -> bool:
    """Return whether an error comes from the communication with another process."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in first_line(error)


def new_accelerator(precision: str, deterministic: bool = False) -> Accelerator:
    """Connect the processes that train together, on GPUs if available.

    Raises UserError if several processes were launched but are not connected, because all would write the same run.
    """
    allow_tf32(precision == "tf32")
    if torch.accelerator.is_available():
        use_deterministic_kernels(deterministic)
        use_visible_device()
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),  # without it, Accelerate does not connect processes on CPUs
        mixed_precision=MIXED_PRECISION[precision],
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if accelerator.num_processes != launched:
        raise UserError(
            f"{launched} processes were launched (WORLD_SIZE), but only {accelerator.num_processes} connected; "
            "start them with torchrun or accelerate launch"
        )
    return accelerator


def use_deterministic_kernels(required: bool) -> None:
    """Set whether a GPU must use kernels that return the same bits in every run; CPU kernels always do."""
    if required:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    torch.use_deterministic_algorithms(required)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def use_visible_device() -> None:
    """Make a process with a single visible GPU use it, regardless of its rank on the node.

    SLURM can bind one GPU to each task. Accelerate would pass the local rank to DistributedDataParallel as the index of
    the GPU.
    """
    if "LOCAL_RANK" in os.environ and torch.accelerator.device_count() == 1:
        os.environ["LOCAL_RANK"] = "0"
