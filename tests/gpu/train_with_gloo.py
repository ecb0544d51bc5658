"""python -m train whose processes communicate with gloo, which allows several of them on one GPU; NCCL does not."""

import runpy

import accelerate
from accelerate.utils import InitProcessGroupKwargs

import train.accelerator


class GlooAccelerator(accelerate.Accelerator):
    """Accelerator that connects its processes with gloo."""

    def __init__(self, *, kwargs_handlers: list, **options: object):
        for handler in kwargs_handlers:
            if isinstance(handler, InitProcessGroupKwargs):
                handler.backend = "gloo"
        super().__init__(kwargs_handlers=kwargs_handlers, **options)


train.accelerator.Accelerator = GlooAccelerator
runpy.run_module("train", run_name="__main__")
