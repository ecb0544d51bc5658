"""Training batches, each a function of (seed, step) alone and prefetched by a background thread."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from diffusion.randomness import generator, normal
from train.data import ImageDataset, batch_indices

T = TypeVar("T")
PREFETCH_COUNT = 4


@dataclass(frozen=True)
class Batch:
    """One process's slice of a step's global batch.

    Images in [−1, 1] [n, C, H, W], labels [n], eps shaped like the images, dropout keys int32 [n], and the indices [n]
    of the images in the dataset.
    """

    x_0: Tensor
    labels: Tensor
    eps: Tensor
    dropout_keys: Tensor
    indices: Tensor

    def split(self, count: int) -> list["Batch"]:
        chunks = [tensor.chunk(count) for tensor in vars(self).values()]
        return [Batch(*tensors) for tensors in zip(*chunks, strict=True)]


@dataclass(frozen=True)
class BatchLoader:
    """Loader of one process's batches; `local` is its slice of the global batch."""

    dataset: ImageDataset
    batch_size: int
    local: slice
    seed: int
    horizontal_flip: bool
    device: torch.device

    def load(self, step: int) -> Batch:
        """Load the batch of a step into CPU memory, pinned if the device is a GPU, with images in uint8."""
        numbers = batch_indices(len(self.dataset), self.batch_size, self.seed, step)[self.local]
        indices = self.dataset.indices(numbers)
        positions = [(step, i) for i in range(self.local.start, self.local.stop)]
        eps = normal(self.dataset.images.shape[1:], self.seed, "eps", positions)
        dropout_keys = generator(self.seed, "dropout", step).integers(-(2**31), 2**31, self.batch_size, dtype=np.int32)
        tensors = (
            self._pixels(indices, step),
            torch.from_numpy(self.dataset.labels[indices]),
            eps,
            torch.from_numpy(dropout_keys[self.local]),
            torch.from_numpy(indices),
        )
        return Batch(*(pin(tensor, self.device) for tensor in tensors))

    def to_device(self, batch: Batch) -> Batch:
        """Move a batch to the device without waiting for it, and scale its images from uint8 to [−1, 1]."""
        tensors = {name: tensor.to(self.device, non_blocking=True) for name, tensor in vars(batch).items()}
        return Batch(**tensors | {"x_0": tensors["x_0"].float() / 127.5 - 1})

    def _pixels(self, indices: np.ndarray, step: int) -> Tensor:
        """Return the images at some indices as uint8 [n, C, H, W], randomly flipped if the option is set."""
        pixels = torch.from_numpy(self.dataset.images[indices])
        if self.horizontal_flip:
            flips = generator(self.seed, "flip", step).random(self.batch_size)[self.local] < 0.5
            pixels = torch.where(torch.from_numpy(flips)[:, None, None, None], pixels.flip(3), pixels)
        return pixels


def pin(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor in pinned CPU memory if the device is a GPU, which can then copy it while the CPU continues."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


@contextmanager
def prefetch(load: Callable[[int], T], start: int, stop: int) -> Iterator[Iterator[T]]:
    """Iterate over load(start), …, load(stop − 1), with a few items loaded ahead by a background thread.

    An exception of the thread is raised when the iteration reaches the item that failed.
    """
    results: queue.Queue[T | BaseException] = queue.Queue(PREFETCH_COUNT)
    stopped = threading.Event()

    def put(result: T | BaseException) -> None:
        while not stopped.is_set():
            try:
                return results.put(result, timeout=0.2)
            except queue.Full:
                continue

    def load_all() -> None:
        try:
            for index in range(start, stop):
                if stopped.is_set():
                    return
                put(load(index))
        except BaseException as error:
            put(error)

    def items() -> Iterator[T]:
        for _ in range(start, stop):
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield result

    thread = threading.Thread(target=load_all, daemon=True)
    thread.start()
    try:
        yield items()
    finally:
        stopped.set()
        thread.join()
