"""The training loop: images in, checkpoints out. A run interrupted anywhere resumes bit for bit."""

import math
import time
from contextlib import closing, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from configs.checks import checkpoint_steps
from configs.errors import UserError
from configs.schema import Experiment
from diffusion.losses import GaussianDiffusion
from diffusion.schedule import Schedule
from diffusion.timesteps import TIMESTEP_SAMPLERS
from models.compiled import should_compile
from models.flops import FORWARD_PASSES, forward_flop
from records import checkpoint
from records.atomic import write_text
from records.layout import SeedFolder, seed_folder, step_name
from records.progress import progress
from records.run_lock import hold_run
from train import state
from train.accelerator import new_accelerator, out_of_memory, report_lost_connection
from train.batches import Batch, BatchLoader, pin, prefetch
from train.data import load_dataset
from train.ema import Ema
from train.log import TrainingLog
from train.network import load_optimizer_state, new_network, new_optimizer, set_capturable, set_learning_rate
from train.run_folder import open_run_folder
from train.samples import write_sample_grid
from train.signals import SignalFlags, Stopped, catch_signals
from train.statistics import LossStatistics
from train.step_graph import StepGraph, should_record
from train.throughput import Throughput, matmul_flop_per_s
from train.writer import BackgroundWriter

NEVER = 2**62  # step number beyond any run


@report_lost_connection()
def train(experiment: Experiment) -> None:
    """Train the experiment's seed to its last step, resuming from the newest state in its run folder.

    Raises UserError if the run was started with a different configuration, another process is training it, the disk or
    the memory of the GPU is full, or the loss is not finite; raises Stopped after a signal, and Disconnected if another
    process of the training is gone or does not start.
    """
    folder = seed_folder(experiment, experiment.seed)
    accelerator = new_accelerator(experiment.train.precision, experiment.train.deterministic)
    run_lock = hold_run(folder, "training")
    try:
        with run_lock if accelerator.is_main_process else nullcontext(), catch_signals() as signals:
            if accelerator.is_main_process:
                open_run_folder(folder, experiment)
            with closing(Trainer(experiment, folder, accelerator, signals)) as trainer:
                trainer.run()
    except OSError as error:
        raise UserError(
            f"{error.filename or folder.root}: {error.strerror or error}; everything saved so far is intact; "
            "fix this and rerun the same command"
        ) from None
    except torch.OutOfMemoryError:
        raise out_of_memory(experiment.train, accelerator) from None


class Trainer:
    """Training loop of one process. `step` is the number of completed optimizer steps."""

    def __init__(self, experiment: Experiment, folder: SeedFolder, accelerator: Accelerator, signals: SignalFlags):
        self.experiment, self.options, self.seed = experiment, experiment.train, experiment.seed
        self.folder, self.signals = folder, signals
        self.accelerator, self.device, self.is_main = accelerator, accelerator.device, accelerator.is_main_process
        self.checkpoint_steps = set(checkpoint_steps(self.options.checkpoints, self.options.steps))
        schedule, options = Schedule.from_config(experiment.diffusion).to(self.device), experiment.diffusion
        self.diffusion = GaussianDiffusion(schedule, options.variance, options.rescale_timesteps)
        self.timestep_sampler = TIMESTEP_SAMPLERS[self.options.timestep_sampler](experiment.diffusion.steps)
        self.network = new_network(experiment, self.device, resumes=state.newest_step(folder.state) is not None)
        self.output_losses = self.diffusion.output_losses
        if should_compile(self.options.compile, self.device):
            self.output_losses = torch.compile(self.output_losses, dynamic=False)
        self.emas = [Ema(self.network, rate) for rate in self.options.ema_rates]
        self.distributed_network, self.optimizer = accelerator.prepare(
            self.network, new_optimizer(self.network, self.options)
        )
        self.loader = self._new_loader()
        self.statistics = LossStatistics(self.device)
        self.first_nonfinite_step = torch.tensor(NEVER, device=self.device)
        self.step = 0
        self.writer = BackgroundWriter()
        self._resume()
        self.step_on_device = torch.tensor(self.step, device=self.device)
        recorded = should_record(self.options, accelerator)
        set_capturable(self.optimizer, recorded, self.device)
        self.update = StepGraph(self._update) if recorded else self._update
        self.throughput = self._new_throughput()
        self.log = TrainingLog(experiment, folder, self.step) if self.is_main else None
        self.last_save_s = time.monotonic()

    def _new_loader(self) -> BatchLoader:
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        batch_size, microbatches = self.options.batch_size, processes * self.options.gradient_accumulation_steps
        if batch_size % microbatches:
            raise UserError(
                f"train.batch_size={batch_size} is not divisible by {processes} processes × "
                f"train.gradient_accumulation_steps={self.options.gradient_accumulation_steps}; "
                f"choose a multiple of {microbatches}"
            )
        dataset = load_dataset(self.experiment.data, self.experiment.model, verify=self.is_main)
        local = slice(rank * batch_size // processes, (rank + 1) * batch_size // processes)
        return BatchLoader(dataset, batch_size, local, self.seed, self.experiment.data.horizontal_flip, self.device)

    def _new_throughput(self) -> Throughput:
        flop_per_image = FORWARD_PASSES * forward_flop(self.experiment.model, self.experiment.diffusion)
        peak = None if self.device.type == "cpu" else matmul_flop_per_s(self.device, self.options.precision)
        processes, images = self.accelerator.num_processes, self.step * self.options.batch_size
        return Throughput(flop_per_image, processes, self.device, peak, images)

    def run(self) -> None:
        """Train to the last step. Checkpoints, states and log lines are written between steps."""
        if self.log is not None:
            self.log.replay()  # here, because `close` then ends the W&B run if a signal arrives meanwhile
        self.throughput.start()
        with self._progress_bar() as bar, prefetch(self.loader.load, self.step, self.options.steps) as batches:
            self._write_checkpoint_if_scheduled()
            while self.step < self.options.steps:
                grad_norm = self.train_step(self.loader.to_device(next(batches)))
                self.signals.has_stepped = True
                bar.update()
                if self.step % self.options.log_every == 0:
                    self._log(grad_norm, bar)
                self._save_or_stop()
                self._write_checkpoint_if_scheduled()
        self._save_state()
        self.writer.wait()
        if self.log is not None:
            self.log.finish()
            write_text(self.folder.trained(self.options.steps), "")

    def train_step(self, batch: Batch) -> Tensor:
        """Take one optimizer step on this process's slice of the global batch; return the gradient norm."""
        t, loss_weights = self._sample_timesteps()
        set_learning_rate(self.optimizer, self._learning_rate())
        losses, grad_norm = self.update(t, loss_weights, *vars(batch).values())
        if self.timestep_sampler.is_adaptive:
            self.timestep_sampler.update(self.accelerator.gather(t), self.accelerator.gather(losses))
        self.step += 1
        return grad_norm

    def _update(self, t: Tensor, loss_weights: Tensor, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """Take an optimizer step on the device alone; return the losses [n] and the gradient norm."""
        losses = self._accumulate_gradients(Batch(*batch), t, loss_weights)
        max_norm = math.inf if self.options.max_grad_norm is None else self.options.max_grad_norm
        grad_norm = self.accelerator.clip_grad_norm_(self.network.parameters(), max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        for ema in self.emas:
            ema.update()
        self._record_if_not_finite(losses, grad_norm)
        return losses, grad_norm

    def _sample_timesteps(self) -> tuple[Tensor, Tensor]:
        """Sample t [n] for this process's slice of the batch, and the weights [n] of the losses."""
        t, loss_weights = self.timestep_sampler.sample(self.options.batch_size, self.seed, self.step)
        return self._local_tensor(t), self._local_tensor(loss_weights)

    def _local_tensor(self, values: np.ndarray) -> Tensor:
        return pin(torch.from_numpy(values[self.loader.local]), self.device).to(self.device, non_blocking=True)

    def _accumulate_gradients(self, batch: Batch, t: Tensor, loss_weights: Tensor) -> Tensor:
        """Add up the gradients of all microbatches; return the losses [n]."""
        count = self.options.gradient_accumulation_steps
        losses = []
        for i, microbatch in enumerate(zip(batch.split(count), t.chunk(count), loss_weights.chunk(count), strict=True)):
            is_last = i == count - 1  # processes exchange gradients after the last microbatch only
            with nullcontext() if is_last else self.accelerator.no_sync(self.distributed_network):
                losses.append(self._backward(*microbatch))
        return torch.cat(losses)

    def _backward(self, batch: Batch, t: Tensor, loss_weights: Tensor) -> Tensor:
        """Add the gradients of a microbatch; return its losses [n]."""
        x_0, eps = batch.x_0, batch.eps
        y = batch.labels if self.experiment.model.num_classes is not None else None
        x_t = self.diffusion.q_sample(x_0, t, eps)
        output = self.distributed_network(x_t, self.diffusion.network_time(t), y, batch.dropout_keys)
        losses = self.output_losses(output, x_0, x_t, t, eps, self.options.loss)
        self.accelerator.backward((losses.loss * loss_weights).mean() / self.options.gradient_accumulation_steps)
        weighted = {name: value * loss_weights for name, value in losses.parts().items()}
        self.statistics.add(weighted, t, self.diffusion.schedule.steps)
        return losses.loss.detach()

    def _learning_rate(self) -> float:
        return self.options.lr * min(1.0, (self.step + 1) / max(1, self.options.warmup_steps))

    def _record_if_not_finite(self, losses: Tensor, grad_norm: Tensor) -> None:
        """Record the first non-finite step on the device. An fp16 gradient may overflow, which the scaler handles."""
        checked = losses.sum() if self.accelerator.scaler else losses.sum() + grad_norm
        nonfinite_step = torch.where(checked.isfinite(), NEVER, self.step_on_device)
        torch.minimum(self.first_nonfinite_step, nonfinite_step, out=self.first_nonfinite_step)
        self.step_on_device += 1

    def _raise_if_not_finite(self) -> None:
        step = -self._max_over_processes(-int(self.first_nonfinite_step))
        if step == NEVER:
            return
        self.writer.wait()
        images = ", ".join(map(str, self.loader.load(step).indices[:8].tolist()))
        newest = state.newest_step(self.folder.state)
        saved = "no state was saved before" if newest is None else f"the last good state is of step {newest}"
        raise UserError(
            f"the loss of step {step} is not finite (seed {self.seed}; its batch starts with images {images}); "
            f"{saved}; try a smaller train.lr, train.max_grad_norm or another train.precision, under another name=…"
        )

    def _log(self, grad_norm: Tensor, bar: tqdm) -> None:
        """Log the mean losses since the last logged step, over all processes."""
        means = self.statistics.over_processes(self.accelerator).means()
        self.statistics.reset()
        self._raise_if_not_finite()
        if self.log is None:
            return
        images, lr = self.step * self.options.batch_size, float(self.optimizer.param_groups[0]["lr"])
        speed = self.throughput.measure(images)
        every = self.options.sample_every
        if every and self.step % every < self.options.log_every:  # the first logged step from each multiple on
            file = self.folder.sample_grid(self.step)
            write_sample_grid(file, self.experiment, self.network, self.emas[0], self.device)
        self.log.write({"step": self.step, "images": images, **means, "grad_norm": grad_norm.item(), "lr": lr}, speed)
        postfix = {"loss": f"{means['loss']:.4f}", "images/s": f"{speed['images_per_s']:.0f}"}
        bar.set_postfix(postfix | {"TFLOP/s": f"{speed['tflop_per_s']:.3g}"}, refresh=False)

    def _write_checkpoint_if_scheduled(self) -> None:
        if self.step not in self.checkpoint_steps:
            return
        self._raise_if_not_finite()
        path = self.folder.checkpoint(self.step)
        if self.is_main and not path.exists():
            weights = {"model": self.network.state_dict(), **{ema.name: ema.weights for ema in self.emas}}
            model, diffusion, data = self.experiment.model, self.experiment.diffusion, self.experiment.data
            write = partial(checkpoint.write, path, self.step, self.seed, model, diffusion, data=data)
            self.writer.write(write, weights)

    def _save_or_stop(self) -> None:
        """Save the state if it is due or requested; raise Stopped after a stop signal.

        A single process does so after any step. Several do so only at logged steps, so that all stop after the same
        step.
        """
        if self.accelerator.num_processes > 1 and self.step % self.options.log_every:
            return
        stop_signal = self._max_over_processes(self.signals.stop_signal or 0)
        is_due = time.monotonic() - self.last_save_s > self.options.state_every_minutes * 60
        if self._max_over_processes(int(is_due or self.signals.save_requested or stop_signal > 0)):
            self._save_state()
            self.signals.save_requested, self.last_save_s = False, time.monotonic()
        if stop_signal:
            self.writer.wait()
            self.accelerator.wait_for_everyone()  # if one exits early, the launcher kills those still saving
            raise Stopped(stop_signal, self.step)

    def _max_over_processes(self, number: int) -> int:
        if self.accelerator.num_processes == 1:
            return number
        return int(self.accelerator.gather(torch.tensor([number], device=self.device)).max())

    def _save_state(self) -> None:
        self._raise_if_not_finite()
        statistics = self.statistics.over_processes(self.accelerator)
        if self.log is None:
            return
        self.log.sync()
        scaler = self.accelerator.scaler
        content = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "emas": {ema.name: ema.weights for ema in self.emas},
            "statistics": statistics.state_dict(),
            "timesteps": self.timestep_sampler.state_dict(),
            "scaler": scaler.state_dict() if scaler else None,
            "images": self.loader.dataset.digest,
        }
        self.writer.write(partial(state.save, self.folder.state, self.step), content)

    def _resume(self) -> None:
        """Load the newest state, if any.

        Raises UserError if the run is trained beyond train.steps and has no checkpoint at that step, if the state is
        not one of this training, or if the processes find different states.
        """
        saved = state.load_newest(self.folder.state)
        self._check_same_step(0 if saved is None else saved["step"])
        if saved is None:
            return
        try:
            self._apply(saved)
        except torch.AcceleratorError:  # the state may be intact
            raise
        except state.APPLY_ERRORS as error:
            path = self.folder.state / step_name(saved["step"])
            raise state.misfit(error, path, self.device.type) from None
        if self.step > self.options.steps and not self.folder.checkpoint(self.options.steps).exists():
            raise UserError(
                f"{self.folder.root} is already trained to step {self.step:,} and has no checkpoint at "
                f"train.steps={self.options.steps:,}; give the experiment another name=…"
            )

    def _apply(self, saved: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.loader.dataset.check_unchanged(saved.get("images"), self.folder.root)
        self.step = saved["step"]
        self.network.load_state_dict(saved["network"])
        load_optimizer_state(self.optimizer, saved["optimizer"])
        for ema in self.emas:
            ema.load(saved["emas"][ema.name])
        self.statistics.load_state_dict(saved["statistics"])
        if not self.is_main:  # the saved sums are over all processes
            self.statistics.reset()
        self.timestep_sampler.load_state_dict(saved["timesteps"])
        if self.accelerator.scaler and saved["scaler"]:
            self.accelerator.scaler.load_state_dict(saved["scaler"])

    def _check_same_step(self, step: int) -> None:
        """Raise UserError if another process resumes at a different step, as with an outdated shared file system."""
        if -self._max_over_processes(-step) != self._max_over_processes(step):
            raise UserError(
                f"the processes find different states in {self.folder.state}: this one would resume at step {step:,}; "
                "rerun the same command when the shared file system is up to date"
            )

    def close(self) -> None:
        """Finish writing, and end the W&B run as interrupted, unless training has finished."""
        self.writer.close()
        if self.log is not None:
            self.log.abort()

    def _progress_bar(self) -> tqdm:
        done = self.step >= self.options.steps
        if done and self.is_main:
            print(f"{self.folder.root} is already trained to step {self.step:,}", flush=True)
        return progress(f"training seed {self.seed}", self.options.steps, "step", self.step, self.is_main and not done)
