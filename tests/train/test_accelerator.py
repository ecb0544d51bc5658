"""Settings of the process for GPUs, simulated without one."""

import os
import signal
import socket
from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace

import accelerate.state
import pytest
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from configs.errors import UserError
from train.accelerator import (
    Disconnected,
    check_gpus,
    check_settings,
    has_gpu,
    lost_connection,
    new_accelerator,
    use_deterministic_kernels,
    use_visible_device,
)
from train.trainer import train


@pytest.mark.parametrize(("visible", "local_rank", "expected"), [(1, "3", "0"), (4, "3", "3"), (1, None, None)])
def test_a_single_visible_gpu_is_used_by_any_rank(visible, local_rank, expected, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: visible)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    use_visible_device()
    assert os.environ.get("LOCAL_RANK") == expected


@pytest.mark.parametrize("required", [True, False])
def test_deterministic_kernels_are_required_only_on_request(required, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    try:
        use_deterministic_kernels(required)
        assert torch.are_deterministic_algorithms_enabled() == required
        assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == required
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("[…/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:65242"), True),
        (torch.distributed.DistBackendError("NCCL error: remote process exited or there was a network error"), True),
        (
            torch.distributed.DistBackendError("NCCL error in: ….cpp:3690, invalid usage (run with NCCL_DEBUG=WARN"),
            False,
        ),
        (RuntimeError("expected scalar type Float but found Half"), False),
    ],
)
def test_errors_of_the_communication_are_recognized(error, expected):
    assert lost_connection(error) == expected


@pytest.fixture
def new_process_state():
    """Let a test create another Accelerator, whose settings are otherwise kept for the process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_a_compiler_of_accelerate_is_rejected(new_process_state, monkeypatch):
    """It would compile the network a second time, and allow TF32."""
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR")
    with pytest.raises(UserError, match=r"\(ACCELERATE_DYNAMO_BACKEND=INDUCTOR\), as does train\.compile=true; unset"):
        new_accelerator("fp32")


def test_accelerate_does_not_divide_losses(new_process_state, monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert new_accelerator("fp32").gradient_accumulation_steps == 1


@pytest.mark.parametrize("sharded", [DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM])
def test_sharded_networks_are_rejected(sharded, new_process_state, monkeypatch):
    """Accelerate only shards them on GPUs."""
    accelerator = new_accelerator("fp32")
    monkeypatch.setattr(accelerator.state, "distributed_type", sharded)
    with pytest.raises(UserError, match=rf"is set to {sharded.value}, .*ACCELERATE_USE_…, or .* accelerate config"):
        check_settings(accelerator)


def test_half_precision_that_would_be_float32_is_rejected(new_process_state):
    if has_gpu():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UserError, match=r"train\.precision=fp16 needs a GPU; set train\.precision=bf16 or fp32"):
        new_accelerator("fp16")


def test_a_mac_trains_on_its_cpu(new_process_state, monkeypatch):
    """Its GPU has no float64."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device("mps"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    monkeypatch.setattr(accelerate.state, "is_mps_available", lambda *_: True)
    assert new_accelerator("fp32").device.type == "cpu"


@pytest.fixture
def first_of_two(new_process_state, monkeypatch):
    """A function that makes this process the first of two that meet at a port."""

    def launch(port: int) -> None:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        processes = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2, "OMP_NUM_THREADS": 1}
        for name, value in (address | processes).items():
            monkeypatch.setenv(name, str(value))

    return launch


def test_processes_that_do_not_meet_are_requeued(first_of_two, tiny):
    """The port is in use."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        first_of_two(other.getsockname()[1])
        with pytest.raises(Disconnected, match=r"address already in use\); rerun the same command") as raised:
            train(tiny())
    assert raised.value.status == 128 + signal.SIGTERM


def test_processes_wait_for_the_first_one_to_read_the_data(first_of_two, monkeypatch):
    class Connected(Exception):
        pass

    def init_process_group(backend, timeout=None, **_):
        raise Connected(backend, timeout)

    first_of_two(0)
    monkeypatch.setattr(torch.distributed, "init_process_group", init_process_group)
    with pytest.raises(Connected) as connected:
        new_accelerator("fp32")
    assert connected.value.args == ("gloo", timedelta(hours=1))


@pytest.mark.parametrize(
    ("backend", "processes", "gpus", "torchrun", "rejected"),
    [
        ("nccl", 4, 4, True, False),
        ("nccl", 4, 2, True, True),
        ("nccl", 4, 2, False, True),
        ("nccl", 4, 1, True, True),
        ("nccl", 4, 1, False, False),  # SLURM shows each process another one
        ("gloo", 4, 1, True, False),
    ],
)
def test_processes_that_would_share_a_gpu_are_rejected(backend, processes, gpus, torchrun, rejected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: torchrun)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    message = rf"{processes} processes .* {gpus} visible GPUs?; .*--nproc-per-node={gpus}"
    with pytest.raises(UserError, match=message) if rejected else nullcontext():
        check_gpus(SimpleNamespace(state=SimpleNamespace(backend=backend)))
