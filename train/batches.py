"""The batches of a training run: what each step draws, a function of (seed, step) alone, made ahead of its use."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from diffusion.randomness import generator, normal
from train.data import ImageSet, batch_indices

T = TypeVar("T")
AHEAD = 4  # batches
SHARE_OF_GPU_MEMORY = 0.25  # that the data set may take to be kept there


@dataclass(frozen=True)
class Batch:
    """A process's share of a step's global batch: images in [−1, 1] [n, C, H, W], labels [n], eps as the images,
    dropout keys int32 [n], and the places [n] of the images in the data set.
    """

    x_0: Tensor
    labels: Tensor
    eps: Tensor
    dropout_keys: Tensor
    indices: Tensor

    def parts(self, count: int) -> list["Batch"]:
        split = [getattr(self, one.name).chunk(count) for one in fields(self)]
        return [Batch(*tensors) for tensors in zip(*split, strict=True)]


@dataclass(frozen=True)
class BatchLoader:
    """Makes the batches of one process: `share` is its slice of the global batch."""

    images: ImageSet
    batch_size: int
    share: slice
    seed: int
    horizontal_flip: bool
    device: torch.device
    resident: Tensor | None = None  # the whole data set, uint8, where the device has room for it

    def make(self, step: int) -> Batch:
        """The batch of a step, on the CPU (in pinned memory for a GPU), its images on the device if they live there."""
        indices = batch_indices(len(self.images), self.batch_size, self.seed, step)[self.share]
        positions = [(step, i) for i in range(self.share.start, self.share.stop)]
        eps = normal(self.images.images.shape[1:], self.seed, "eps", positions)
        dropout_keys = generator(self.seed, "dropout", step).integers(-(2**31), 2**31, self.batch_size, dtype=np.int32)
        return Batch(
            x_0=self._pixels(indices, step),
            labels=torch.from_numpy(self.images.labels[indices]),
            eps=self._ready(eps),
            dropout_keys=torch.from_numpy(dropout_keys[self.share]),
            indices=torch.from_numpy(indices),
        )

    def on_device(self, batch: Batch) -> Batch:
        """The batch on the device, its pixels brought from uint8 to [−1, 1]."""
        moved = {one.name: getattr(batch, one.name).to(self.device, non_blocking=True) for one in fields(batch)}
        return Batch(**moved | {"x_0": moved["x_0"].float() / 127.5 - 1})

    def _pixels(self, indices: np.ndarray, step: int) -> Tensor:
        """The images of some indices as uint8 [n, C, H, W], each mirrored or not."""
        if self.resident is not None:
            pixels = self.resident[torch.from_numpy(indices).to(self.device)]
        else:
            pixels = self._ready(torch.from_numpy(self.images.images[indices]))
        if self.horizontal_flip:
            flips = generator(self.seed, "flip", step).random(self.batch_size)[self.share] < 0.5
            mirrored = torch.from_numpy(flips).to(pixels.device)[:, None, None, None]
            pixels = torch.where(mirrored, pixels.flip(3), pixels)
        return pixels

    def _ready(self, tensor: Tensor) -> Tensor:
        return tensor.pin_memory() if self.device.type == "cuda" else tensor


def resident_images(images: ImageSet, device: torch.device) -> Tensor | None:
    """The whole data set in the memory of a GPU, uint8 [N, C, H, W], or None where it has no room for it."""
    if device.type != "cuda":
        return None
    free_bytes, _ = torch.cuda.mem_get_info(device)
    if images.images.nbytes > SHARE_OF_GPU_MEMORY * free_bytes:
        return None
    return torch.from_numpy(np.array(images.images)).to(device)


@contextmanager
def prefetch(make: Callable[[int], T], start: int, stop: int) -> Iterator[Iterator[T]]:
    """make(start), …, make(stop − 1), a few of them made ahead by a thread; what it raises is raised here."""
    made: queue.Queue[T | BaseException] = queue.Queue(AHEAD)
    ended = threading.Event()

    def put(item: T | BaseException) -> None:
        while not ended.is_set():
            try:
                return made.put(item, timeout=0.2)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for index in range(start, stop):
                if ended.is_set():
                    return
                put(make(index))
        except BaseException as error:
            put(error)

    def take() -> Iterator[T]:
        for _ in range(start, stop):
            item = made.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        ended.set()
        thread.join()
