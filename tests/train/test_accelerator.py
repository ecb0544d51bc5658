"""Settings of the process for GPUs, simulated without one."""

import os

import pytest
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from configs.errors import UserError
from train.accelerator import (
    check_settings,
    lost_connection,
    new_accelerator,
    use_deterministic_kernels,
    use_visible_device,
)


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


@pytest.mark.parametrize("sharded", [DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM])
def test_sharded_networks_are_rejected(sharded, new_process_state, monkeypatch):
    """Accelerate only shards them on GPUs."""
    accelerator = new_accelerator("fp32")
    monkeypatch.setattr(accelerator.state, "distributed_type", sharded)
    with pytest.raises(UserError, match=rf"is set to {sharded.value}, .*ACCELERATE_USE_…, or .* accelerate config"):
        check_settings(accelerator)
