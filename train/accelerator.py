"""Connection of the processes that train together, and the precision and determinism of their kernels."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    DynamoBackend,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
)

from configs.errors import RERUN, UserError, first_line
from configs.schema import Train
from models.compiled import allow_tf32

MIXED_PRECISION = {"fp32": "no", "tf32": "no", "bf16": "bf16", "fp16": "fp16"}
SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
TIMEOUT = timedelta(hours=1)  # for the first process to read the whole data set, while the others wait for it
CUBLAS_WORKSPACE = ":4096:8"  # one of the two sizes with which cuBLAS is deterministic


class Disconnected(UserError):
    """End of a training process that has lost another one, which was killed or whose node failed."""

    status = 128 + signal.SIGTERM  # as after a signal, so that a SLURM job is requeued

    def __init__(self, error: RuntimeError):
        super().__init__(f"the connection to another process of this training was lost ({first_line(error)}); {RERUN}")


@contextmanager
def report_lost_connection() -> Iterator[None]:
    """Raise Disconnected instead of an error of the communication with another process."""
    try:
        yield
    except RuntimeError as error:
        if not lost_connection(error):
            raise
        raise Disconnected(error) from None


def lost_connection(error: RuntimeError) -> bool:
    """Return whether an error comes from the communication with another process, and not from a wrong configuration."""
    if isinstance(error, torch.distributed.DistError):
        return "invalid usage" not in first_line(error)  # of NCCL
    return "gloo" in first_line(error)


def new_accelerator(precision: str, deterministic: bool = False) -> Accelerator:
    """Connect the processes that train together, on GPUs if available.

    Raises UserError if several processes were launched but are not connected, because all would write the same run, if
    processes would share a GPU, if there is none for fp16, or if Accelerate is configured to shard or compile the
    network.
    """
    on_gpu = has_gpu()
    if precision == "fp16" and not on_gpu:  # Accelerate would train in float32
        raise UserError("train.precision=fp16 needs a GPU; set train.precision=bf16 or fp32 to train on the CPU")
    if on_gpu:
        use_deterministic_kernels(deterministic)
        use_visible_device()
    accelerator = Accelerator(
        cpu=not on_gpu,  # without it, Accelerate does not connect processes on CPUs
        mixed_precision=MIXED_PRECISION[precision],
        kwargs_handlers=[
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),
            InitProcessGroupKwargs(backend=None, timeout=TIMEOUT),  # NCCL's own timeout is 10 minutes
        ],
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),  # the trainer divides the losses
    )
    allow_tf32(precision == "tf32")  # after Accelerate, which may set it as well
    check_settings(accelerator)
    check_connected(accelerator)
    check_gpus(accelerator)
    return accelerator


def has_gpu() -> bool:
    """Return whether there is a GPU for training; Apple's have no float64, as of the schedule and the mean losses."""
    device = torch.accelerator.current_accelerator(check_available=True)
    return device is not None and device.type != "mps"


def check_settings(accelerator: Accelerator) -> None:
    """Raise UserError if `accelerate config` or the environment makes Accelerate shard or compile the network."""
    parallelism, compiler = accelerator.distributed_type, accelerator.state.dynamo_plugin.backend
    if parallelism in SHARDED:
        raise UserError(
            f"Accelerate is set to {parallelism.value}, but every process of a training needs the whole network; "
            "unset the variables ACCELERATE_USE_…, or turn it off with accelerate config"
        )
    if compiler != DynamoBackend.NO:
        raise UserError(
            f"Accelerate is set to compile the network (ACCELERATE_DYNAMO_BACKEND={compiler.value}), as does "
            "train.compile=true; unset this variable, or turn it off with accelerate config"
        )


def check_connected(accelerator: Accelerator) -> None:
    """Raise UserError if not all launched processes are connected."""
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if accelerator.num_processes != launched:
        raise UserError(
            f"{launched} processes were launched (WORLD_SIZE), but only {accelerator.num_processes} connected; "
            "start them with torchrun or accelerate launch"
        )


def check_gpus(accelerator: Accelerator) -> None:
    """Raise UserError if processes of this machine would share a GPU, which NCCL rejects."""
    processes, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
    one_each = gpus == 1 and not torch.distributed.is_torchelastic_launched()  # bound by SLURM: see use_visible_device
    if accelerator.state.backend == "nccl" and processes > gpus and not one_each:
        raise UserError(
            f"{processes} processes were launched on a machine with {gpus} visible GPU{'s' * (gpus > 1)}; launch one "
            f"per GPU with --nproc-per-node={gpus}, or show more GPUs with CUDA_VISIBLE_DEVICES"
        )


def out_of_memory(options: Train, accelerator: Accelerator) -> UserError:
    """Return the error of a device that is too small for a microbatch; its message names the next larger division."""
    images = options.batch_size // accelerator.num_processes
    divisors = [count for count in range(2 * options.gradient_accumulation_steps, images + 1) if images % count == 0]
    remedy = f"train.gradient_accumulation_steps={divisors[0]} or more" if divisors else "train.batch_size to less"
    return UserError(
        f"the memory of the {accelerator.device.type} device is too small for "
        f"{images // options.gradient_accumulation_steps} images at once; set {remedy}"
    )


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
