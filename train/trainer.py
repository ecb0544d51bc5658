"""The training loop: images in, checkpoints out; stopped anywhere, it goes on as if it had not been."""

import math
import os
import time
from contextlib import nullcontext

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor

from configs.checks import checkpoint_steps
from configs.errors import UserError
from configs.schema import Experiment
from diffusion.losses import GaussianDiffusion
from diffusion.randomness import generator
from diffusion.schedule import Schedule
from diffusion.timesteps import TIMESTEP_SAMPLERS
from models.compiled import allow_tf32, check_compiler
from models.flops import FORWARD_PASSES, forward_flop
from models.unet import UNet
from records import checkpoint, lock
from records.atomic import atomic_file, write_text
from records.layout import SeedFolder, seed_folder
from records.pictures import to_png
from records.progress import progress
from train import state
from train.batches import Batch, BatchLoader, prefetch, resident_images
from train.data import prepare
from train.ema import Ema
from train.log import TrainingLog
from train.run_folder import claim
from train.samples import sample_grid
from train.signals import SignalFlags, Stopped, catch_signals
from train.start import initial_weights
from train.statistics import LossStatistics
from train.throughput import Throughput

MIXED_PRECISION = {"fp32": "no", "tf32": "no", "bf16": "bf16", "fp16": "fp16"}
WAIT_FOR_A_DYING_PROCESS_S = 10.0
NOT_YET = 2**62


def train(experiment: Experiment) -> None:
    """Trains the experiment's seed to its last step, from wherever its run folder has got to.

    Raises UserError where the folder was made with another configuration, another process trains it, the disk is
    full or the loss is not finite, and Stopped (a UserError) after a signal.
    """
    folder = seed_folder(experiment, experiment.seed)
    accelerator = new_accelerator(experiment.train.precision)
    mine = lock.hold(folder.lock, lock.describe_process("training"), WAIT_FOR_A_DYING_PROCESS_S)
    try:
        with mine if accelerator.is_main_process else nullcontext(), catch_signals() as requests:
            if accelerator.is_main_process:
                claim(folder, experiment)
            trainer = Trainer(experiment, folder, accelerator, requests)
            try:
                trainer.run()
            finally:
                trainer.leave()
    except lock.Busy as busy:
        raise UserError(f"{folder.root} is at work already: {busy}") from None
    except OSError as error:
        raise UserError(
            f"{error.filename or folder.root}: {error.strerror or error}; what was saved before is whole: mend this, "
            "and give the same command again"
        ) from None


def new_accelerator(precision: str) -> Accelerator:
    """The processes that train together, on GPUs where there are any.

    Raises UserError where several processes were started that do not know each other: they would all write the same
    run.
    """
    allow_tf32(precision == "tf32")
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),  # or Accelerate takes several processes without GPUs for strangers
        mixed_precision=MIXED_PRECISION[precision],
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    started = int(os.environ.get("WORLD_SIZE", 1))
    if accelerator.num_processes != started:
        raise UserError(f"{started} processes were started, but only {accelerator.num_processes} found each other")
    return accelerator


class Trainer:
    """One process's share of a training run. `step` is the number of optimiser steps done."""

    def __init__(self, experiment: Experiment, folder: SeedFolder, accelerator: Accelerator, requests: SignalFlags):
        self.experiment, self.options, self.seed = experiment, experiment.train, experiment.seed
        self.folder, self.accelerator, self.device = folder, accelerator, accelerator.device
        self.requests, self.is_main = requests, accelerator.is_main_process
        diffusion = experiment.diffusion
        schedule = Schedule.of(diffusion).to(self.device)
        self.objective = GaussianDiffusion(schedule, diffusion.variance, diffusion.rescale_timesteps)
        self.timesteps = TIMESTEP_SAMPLERS[self.options.timestep_sampler](diffusion.steps)
        self.network = self._new_network().to(self.device, memory_format=self._memory_format())  # type: ignore[call-overload]
        if self.options.compile:
            check_compiler(self.device.type)
            self.network.compile(dynamic=False)
        self.emas = [Ema(self.network, rate) for rate in self.options.ema_rates]
        self.statistics = LossStatistics(self.device)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.options.lr, weight_decay=self.options.weight_decay, fused=True
        )
        self.wrapped, self.optimizer = accelerator.prepare(self.network, self.optimizer)
        self.batches = self._batches()
        self.step = 0
        self.bad_step = torch.tensor(NOT_YET, device=self.device)  # the first one whose loss was not finite
        self._resume()
        if self.step > self.options.steps and not folder.checkpoint(self.options.steps).exists():
            raise UserError(
                f"{folder.root} is trained to step {self.step:,} already and has no checkpoint at "
                f"train.steps={self.options.steps:,}; give the experiment another name=…"
            )
        self.log = TrainingLog(experiment, folder, self.step) if self.is_main else None

    def _new_network(self) -> UNet:
        torch.manual_seed(int(generator(self.seed, "initial weights").integers(2**63)))
        network = UNet.of(self.experiment.model, self.experiment.diffusion)
        if self.options.init_from is not None:
            initial_weights(network, self.options.init_from)
        return network

    def _memory_format(self) -> torch.memory_format:
        """Channels last is what half precision is fast with; other ways stay as runs before them were."""
        fast = self.options.compile or MIXED_PRECISION[self.options.precision] != "no"
        return torch.channels_last if fast else torch.preserve_format

    def _batches(self) -> BatchLoader:
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        if self.options.batch_size % (processes * self.options.gradient_accumulation_steps):
            raise UserError(
                f"train.batch_size={self.options.batch_size} cannot be shared by {processes} processes "
                f"in train.gradient_accumulation_steps={self.options.gradient_accumulation_steps} parts each"
            )
        with self.accelerator.main_process_first():
            images = prepare(self.experiment.data, self.experiment.model)
        size = self.options.batch_size // processes
        share = slice(rank * size, (rank + 1) * size)
        flip, resident = self.experiment.data.horizontal_flip, resident_images(images, self.device)
        return BatchLoader(images, self.options.batch_size, share, self.seed, flip, self.device, resident)

    def run(self) -> None:
        """Trains to the last step; checkpoints, saved states and log lines come from between two steps."""
        plan = set(checkpoint_steps(self.options.checkpoints, self.options.steps))
        per_image = FORWARD_PASSES * forward_flop(self.experiment.model, self.experiment.diffusion)
        processes, precision = self.accelerator.num_processes, self.options.precision
        throughput = Throughput(per_image, processes, self.device, precision, self.step * self.options.batch_size)
        saved_at_s = time.monotonic()
        with self._bar() as bar, prefetch(self.batches.make, self.step, self.options.steps) as batches:
            while True:
                if self.step in plan:
                    self._write_checkpoint()
                if self.step >= self.options.steps:
                    break
                grad_norm = self._train_step(self.batches.on_device(next(batches)))
                bar.update()
                if self.step % self.options.log_every == 0:
                    self._log(grad_norm, throughput, bar)
                saved_at_s = self._save_or_stop(saved_at_s)
        self._finish()

    def _train_step(self, batch: Batch) -> Tensor:
        """One optimiser step on this process's share of the global batch; the norm of its gradient."""
        options, accumulate = self.options, self.options.gradient_accumulation_steps
        t, weights = self._draw_timesteps()
        values = []
        for i, part in enumerate(batch.parts(accumulate)):
            last = i == accumulate - 1
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                values.append(self._backward(part, t.chunk(accumulate)[i], weights.chunk(accumulate)[i]))
        loss = torch.cat(values)
        if self.timesteps.is_adaptive:
            self.timesteps.update(self.accelerator.gather(t), self.accelerator.gather(loss))
        largest = math.inf if options.max_grad_norm is None else options.max_grad_norm
        grad_norm = self.accelerator.clip_grad_norm_(self.network.parameters(), largest)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.optimizer.step()
        self.optimizer.zero_grad()
        for ema in self.emas:
            ema.update(self.network)
        self._note_if_not_finite(loss, grad_norm)
        self.step += 1
        return grad_norm

    def _draw_timesteps(self) -> tuple[Tensor, Tensor]:
        """t [n] of this process's share, and the weights [n] of the losses."""
        drawn = self.timesteps.sample(self.options.batch_size, self.seed, self.step)
        t, weights = (
            torch.from_numpy(values[self.batches.share]).to(self.device, non_blocking=True) for values in drawn
        )
        return t, weights

    def _backward(self, part: Batch, t: Tensor, weights: Tensor) -> Tensor:
        """Adds a part's gradient to what is there, and returns its losses [n]."""
        y = part.labels if self.experiment.model.num_classes is not None else None
        losses = self.objective.losses(
            lambda x_t, time: self.wrapped(x_t, time, y, part.dropout_keys), part.x_0, t, part.eps, self.options.loss
        )
        self.accelerator.backward((losses.loss * weights).mean() / self.options.gradient_accumulation_steps)
        weighted = {name: value * weights for name, value in losses.parts().items()}
        self.statistics.add(weighted, t, self.objective.schedule.steps)
        return losses.loss.detach()

    def _learning_rate(self) -> float:
        warm = (self.step + 1) / self.options.warmup_steps if self.options.warmup_steps else 1.0
        return self.options.lr * min(1.0, warm)

    def _note_if_not_finite(self, loss: Tensor, grad_norm: Tensor) -> None:
        """Remembers, on the device, the first step that went wrong; a gradient in fp16 may overflow and is skipped."""
        checked = loss.sum() if self.accelerator.scaler else loss.sum() + grad_norm
        now = torch.where(checked.isfinite(), NOT_YET, self.step)
        self.bad_step = torch.minimum(self.bad_step, now)

    def _stop_if_not_finite(self) -> None:
        step = -self._largest(-int(self.bad_step))
        if step == NOT_YET:
            return
        images = self.batches.make(step).indices[:8].tolist()
        saved = state.newest(self.folder.state)
        good = "no state was saved before it" if saved is None else f"the last good state is of step {saved}"
        raise UserError(
            f"the loss of step {step} is not finite (seed {self.seed}; its batch begins with the images "
            f"{', '.join(map(str, images))}); {good}; try a smaller train.lr, train.max_grad_norm, or another "
            "train.precision, under another name=…"
        )

    def _log(self, grad_norm: Tensor, throughput: Throughput, bar) -> None:
        """A line in the log: means since the last one, the same on any number of processes."""
        statistics = self.statistics
        sums, counts = (self.accelerator.reduce(one, "sum") for one in (statistics.sums, statistics.counts))
        means = statistics.means(sums, counts)
        statistics.reset()
        self._stop_if_not_finite()
        if self.log is None:
            return
        images = self.step * self.options.batch_size
        learning_rate = self.optimizer.param_groups[0]["lr"]
        point = {"step": self.step, "images": images, **means, "grad_norm": grad_norm.item(), "lr": learning_rate}
        speed = throughput.measure(images)
        self._draw_samples()
        self.log.write(point, speed)
        said = {"loss": f"{means['loss']:.4f}", "images/s": f"{speed['images_per_s']:.0f}"}
        bar.set_postfix(said | {"TFLOP/s": f"{speed['tflop_per_s']:.3g}"}, refresh=False)

    def _draw_samples(self) -> None:
        every = self.options.sample_every
        if every and self.step % every == 0:
            with torch.compiler.set_stance("force_eager"):  # other weights and no dropout would be compiled anew
                image = sample_grid(self.experiment, self.network, self.emas[0], self.device)
            with atomic_file(self.folder.sample_grid(self.step)) as aside:
                aside.write_bytes(to_png(image))

    def _save_or_stop(self, saved_at_s: float) -> float:
        """Saves the state when it is time or a signal asked for it; when it was last saved. Raises Stopped.

        One process can do so after any step. Several do it at logged steps: they must stop after the same one, and
        there none of them holds sums that the state would lack.
        """
        if self.accelerator.num_processes > 1 and self.step % self.options.log_every:
            return saved_at_s
        stop = self._largest(self.requests.stop_signal or 0)
        overdue = time.monotonic() - saved_at_s > self.options.state_every_minutes * 60
        if self._largest(int(overdue or self.requests.save or stop > 0)):
            self._save_state()
            self.requests.save, saved_at_s = False, time.monotonic()
        if stop:
            self.accelerator.wait_for_everyone()  # or whoever ends first has the one that still saves killed
            raise Stopped(stop, self.step)
        return saved_at_s

    def _largest(self, number: int) -> int:
        """The largest of all processes' numbers."""
        if self.accelerator.num_processes == 1:
            return number
        return int(self.accelerator.gather(torch.tensor([number], device=self.device)).max())

    def _write_checkpoint(self) -> None:
        self._stop_if_not_finite()
        path = self.folder.checkpoint(self.step)
        if self.is_main and not path.exists():
            weights = {"model": self.network.state_dict(), **{ema.name: ema.weights for ema in self.emas}}
            checkpoint.write(path, self.step, self.seed, self.experiment.model, self.experiment.diffusion, weights)

    def _save_state(self) -> None:
        """Saves what resuming needs, after making sure that it is worth it."""
        self._stop_if_not_finite()
        if self.log is None:
            return
        self.log.sync()
        scaler = self.accelerator.scaler
        content = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "emas": {ema.name: ema.weights for ema in self.emas},
            "statistics": self.statistics.state(),
            "timesteps": self.timesteps.state(),
            "scaler": scaler.state_dict() if scaler else None,
        }
        state.save(self.folder.state, self.step, content)

    def _resume(self) -> None:
        """Takes up the newest state, if there is one."""
        saved = state.load_newest(self.folder.state, self.device)
        if saved is None:
            return
        self.step = saved["step"]
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for ema in self.emas:
            ema.weights = saved["emas"][ema.name]
        if self.is_main:  # sums of all processes, if there were several
            self.statistics.load(saved["statistics"])
        self.timesteps.load(saved["timesteps"])
        if self.accelerator.scaler and saved["scaler"]:
            self.accelerator.scaler.load_state_dict(saved["scaler"])

    def _finish(self) -> None:
        self._save_state()
        if self.log is not None:
            self.log.finish()
            write_text(self.folder.trained(self.options.steps), "")

    def leave(self) -> None:
        if self.log is not None:
            self.log.leave()

    def _bar(self):
        ended = self.step >= self.options.steps
        if ended and self.is_main:
            print(f"{self.folder.root} is trained to step {self.step:,} already", flush=True)
        return progress(f"training seed {self.seed}", self.options.steps, "step", self.step, self.is_main and not ended)
