"""Events that count as the work of a GPU in a profile."""

import pytest
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent

from benchmarks.profile import _is_gpu_work


@pytest.mark.parametrize(
    ("device", "annotation", "counts"),
    [(DeviceType.CUDA, False, True), (DeviceType.CUDA, True, False), (DeviceType.CPU, False, False)],
)
def test_annotations_and_operations_on_the_cpu_are_no_work_of_the_gpu(device, annotation, counts):
    event = FunctionEvent(0, "some", 0, 0, 1, device_type=device, is_user_annotation=annotation)
    assert _is_gpu_work(event) == counts
