"""The device of a test: the CPU with small networks in every run, and a GPU if available (`pytest -m gpu`)."""

import pytest
import torch

GPU = pytest.param("gpu", marks=pytest.mark.gpu)


@pytest.fixture(autouse=True)
def settings_of_process():
    """Restore the process-wide settings for TF32 and deterministic kernels."""
    precision, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = cudnn
    torch.use_deterministic_algorithms(False)


@pytest.fixture(params=["cpu", GPU])
def device(request) -> torch.device:
    return torch.device("cpu") if request.param == "cpu" else first_gpu()


@pytest.fixture
def gpu() -> torch.device:
    """The first GPU; the test is skipped without one."""
    return first_gpu()


@pytest.fixture(params=["cpu", GPU])
def training_device(request) -> torch.device:
    """The device on which this process trains: its GPU if it has one."""
    if request.param == "gpu":
        return first_gpu()
    if torch.accelerator.is_available():
        pytest.skip("this machine trains on its GPU")
    return torch.device("cpu")


def first_gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU that runs CUDA, which this machine does not have")
    return torch.device("cuda", 0)
