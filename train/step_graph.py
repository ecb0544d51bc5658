"""A training step as one CUDA graph: its kernels are launched once as a whole instead of one by one."""

from collections.abc import Callable, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor

from configs.schema import Train
from models.compiled import should_compile

WARM_UP_STEPS = 3  # libraries choose kernels and the optimizer creates its state before the recording


def should_record(options: Train, accelerator: Accelerator) -> bool:
    """Return whether to record the steps; null: unless they are compiled."""
    possible = accelerator.device.type == "cuda" and accelerator.num_processes == 1 and not accelerator.scaler
    wanted = not should_compile(options.compile, accelerator.device) if options.graph is None else options.graph
    return possible and wanted


class StepGraph:
    """A function of tensors that is recorded after a few calls and then replayed.

    The function must compute on the GPU alone, without synchronization and with the same shapes in every call, and must
    change other tensors in place. Its outputs are overwritten by the next call.
    """

    def __init__(self, run: Callable[..., tuple[Tensor, ...]]):
        self.run = run
        self.calls = 0
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        self.calls += 1
        if self.calls <= WARM_UP_STEPS:
            return self._run_on_side_stream(inputs)
        if self.graph is None:
            self._record(inputs)
        for recorded, value in zip(self.inputs, inputs, strict=True):
            recorded.copy_(value, non_blocking=True)
        assert self.graph is not None
        self.graph.replay()
        return self.outputs

    def _run_on_side_stream(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run without recording, on the kind of stream that recording requires."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            outputs = self.run(*inputs)
        torch.cuda.current_stream().wait_stream(self.stream)
        return outputs

    def _record(self, inputs: Sequence[Tensor]) -> None:
        self.inputs = [value.clone() for value in inputs]
        self.graph = torch.cuda.CUDAGraph()
        # Other threads load batches into pinned memory meanwhile, which the default mode forbids.
        with torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"):
            self.outputs = self.run(*self.inputs)
