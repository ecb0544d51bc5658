"""The training loop: images in, checkpoints out; stopped anywhere, it goes on as if it had not been."""

import dataclasses
import json
import os
import time
from collections.abc import Callable

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor

from configs.checks import checkpoint_steps
from configs.errors import UserError
from configs.load import differences, load_resolved, to_yaml
from configs.schema import Experiment
from diffusion.losses import Objective
from diffusion.randomness import generator, normal
from diffusion.schedule import Schedule
from diffusion.unet import UNet
from records import checkpoint, lock, tracking
from records.durable import clear_partial, write_text
from records.layout import SeedFolder, seed_folder
from records.progress import progress
from train import state
from train.data import batch_indices, prepare
from train.ema import Ema
from train.statistics import LossStatistics

MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
WAIT_FOR_A_DYING_PROCESS_S = 10.0


def train(experiment: Experiment) -> None:
    """Trains the experiment's seed to its last step, from wherever its run folder has got to.

    Raises UserError where the folder was made with another configuration or another process trains it.
    """
    folder = seed_folder(experiment, experiment.seed)
    accelerator = Accelerator(
        mixed_precision=MIXED_PRECISION[experiment.train.precision],
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)],
    )
    if not accelerator.is_main_process:
        Trainer(experiment, folder, accelerator).run()
        return
    try:
        with lock.held(folder.lock, lock.this_process("training"), WAIT_FOR_A_DYING_PROCESS_S):
            claim(folder, experiment)
            Trainer(experiment, folder, accelerator).run()
    except lock.Busy as busy:
        raise UserError(f"{folder.root} is at work already: {busy}") from None


def claim(folder: SeedFolder, experiment: Experiment) -> None:
    """Writes the configuration into the run folder. Raises UserError where another one made what is there."""
    check_same(folder, experiment)
    clear_partial(folder.checkpoints)
    write_text(folder.config, to_yaml(experiment))


def check_same(folder: SeedFolder, experiment: Experiment) -> None:
    """Raises UserError where a run folder was made with a configuration that this one cannot go on from."""
    if folder.config.exists():
        changed = differences(load_resolved(folder.config), dataclasses.replace(experiment, seed=_seed_of(folder)))
        if changed:
            raise UserError(
                f"{folder.root} was made with another configuration ({'; '.join(changed)}); "
                "give the experiment another name=… or remove the folder"
            )


def is_trained(folder: SeedFolder, steps: int) -> bool:
    """Whether training has got to its last step and said so to W&B."""
    return folder.checkpoint(steps).exists() and folder.trained(steps).exists()


def _seed_of(folder: SeedFolder) -> int:
    return int(folder.root.name.removeprefix("seed_"))


class Trainer:
    """One process's share of a training run. `step` is the number of optimiser steps done."""

    def __init__(self, experiment: Experiment, folder: SeedFolder, accelerator: Accelerator):
        self.experiment, self.options, self.seed = experiment, experiment.train, experiment.seed
        self.folder, self.accelerator, self.device = folder, accelerator, accelerator.device
        if self.options.batch_size % accelerator.num_processes:
            raise UserError(
                f"train.batch_size={self.options.batch_size} cannot be shared by {accelerator.num_processes} processes"
            )
        with accelerator.main_process_first():
            self.images = prepare(experiment.data, experiment.model)
        diffusion = experiment.diffusion
        self.objective = Objective(Schedule.of(diffusion), diffusion.variance, diffusion.rescale_timesteps)
        torch.manual_seed(address_seed(self.seed, "initial weights"))
        self.network = UNet.of(experiment.model, diffusion).to(self.device)
        self.emas = [Ema(self.network, rate) for rate in self.options.ema_rates]
        self.statistics = LossStatistics(self.device)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.options.lr, weight_decay=self.options.weight_decay, fused=True
        )
        self.wrapped, self.optimizer = accelerator.prepare(self.network, self.optimizer)
        self.step = 0
        self._resume()

    def run(self) -> None:
        plan = set(checkpoint_steps(self.options.checkpoints, self.options.steps))
        tracked = self._open_tracked()
        saved_at = time.monotonic()
        with self._progress() as bar:
            while True:
                if self.step in plan:
                    self._write_checkpoint()
                if self.step >= self.options.steps:
                    break
                grad_norm = self._train_step()
                bar.update()
                if self.step % self.options.log_every == 0:
                    self._log(grad_norm, tracked, bar)
                if time.monotonic() - saved_at > self.options.state_every_minutes * 60:
                    self._save_state()
                    saved_at = time.monotonic()
        self._save_state()
        tracked.finish()
        if self.accelerator.is_main_process:
            write_text(self.folder.trained(self.options.steps), "")

    def _train_step(self) -> Tensor:
        """One optimiser step on this process's share of the global batch; the norm of its gradient."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        x_0, labels, t, eps = self._draw()
        torch.manual_seed(address_seed(self.seed, "dropout", self.step, self.accelerator.process_index))
        losses = self.objective.losses(self._network(labels), x_0, t, eps, self.options.loss)
        self.accelerator.backward(losses.loss.mean())
        grad_norm = torch.nn.utils.get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        self.optimizer.step()
        self.optimizer.zero_grad()
        for ema in self.emas:
            ema.update(self.network)
        self.statistics.add(losses.parts(), t, self.objective.schedule.steps)
        self.step += 1
        return grad_norm

    def _draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x_0, labels, t and eps of this step: those of the whole global batch, of which a process takes its slice."""
        options, step = self.options, self.step
        share = options.batch_size // self.accelerator.num_processes
        mine = slice(self.accelerator.process_index * share, (self.accelerator.process_index + 1) * share)
        indices = batch_indices(len(self.images), options.batch_size, self.seed, step)[mine]
        x_0, labels = self.images.batch(indices)
        all_t = generator(self.seed, "t", step).integers(0, self.objective.schedule.steps, options.batch_size)
        eps = normal(x_0.shape[1:], self.seed, "eps", ((step, i) for i in range(mine.start, mine.stop)))
        drawn = x_0, labels, torch.from_numpy(all_t[mine]), eps
        x_0, labels, t, eps = (tensor.to(self.device, non_blocking=True) for tensor in drawn)
        return x_0, labels, t, eps

    def _network(self, labels: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        y = labels if self.experiment.model.num_classes is not None else None
        return lambda x_t, t: self.wrapped(x_t, t, y)

    def _learning_rate(self) -> float:
        warm = (self.step + 1) / self.options.warmup_steps if self.options.warmup_steps else 1.0
        return self.options.lr * min(1.0, warm)

    def _log(self, grad_norm: Tensor, tracked: tracking.Tracked, bar) -> None:
        """A line in train.jsonl and a point in W&B: means since the last one, the same on any number of processes."""
        statistics = self.statistics
        sums = self.accelerator.reduce(statistics.sums, "sum")
        counts = self.accelerator.reduce(statistics.counts, "sum")
        means = statistics.means(sums, counts)
        statistics.reset()
        if not self.accelerator.is_main_process:
            return
        point = {"step": self.step, **means, "grad_norm": grad_norm.item(), "lr": self.optimizer.param_groups[0]["lr"]}
        point["images"] = self.step * self.options.batch_size
        with open(self.folder.log, "a", encoding="utf-8") as log:
            log.write(json.dumps(point) + "\n")
        tracked.log(point)
        bar.set_postfix(loss=f"{means['loss']:.4f}", refresh=False)

    def _write_checkpoint(self) -> None:
        path = self.folder.checkpoint(self.step)
        if self.accelerator.is_main_process and not path.exists():
            weights = {"model": self.network.state_dict(), **{ema.name: ema.weights for ema in self.emas}}
            checkpoint.write(path, self.step, self.seed, self.experiment.model, self.experiment.diffusion, weights)

    def _save_state(self) -> None:
        if not self.accelerator.is_main_process:
            return
        self._sync_log()
        scaler = self.accelerator.scaler
        state.save(
            self.folder.state,
            self.step,
            {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "emas": {ema.name: ema.weights for ema in self.emas},
                "statistics": self.statistics.state(),
                "scaler": scaler.state_dict() if scaler else None,
            },
        )

    def _resume(self) -> None:
        """Takes up the newest state; what the log says beyond it was said by steps that will be done again."""
        saved = state.load_newest(self.folder.state, self.device)
        if saved is not None:
            self.step = saved["step"]
            self.network.load_state_dict(saved["network"])
            self.optimizer.load_state_dict(saved["optimizer"])
            for ema in self.emas:
                ema.weights = saved["emas"][ema.name]
            self.statistics.load(saved["statistics"])
            if self.accelerator.scaler and saved["scaler"]:
                self.accelerator.scaler.load_state_dict(saved["scaler"])
        if self.accelerator.is_main_process:
            kept = [point for point in tracking.read_points(self.folder.log) if point["step"] <= self.step]
            write_text(self.folder.log, "".join(json.dumps(point) + "\n" for point in kept))

    def _sync_log(self) -> None:
        with open(self.folder.log, "a") as log:
            os.fsync(log.fileno())

    def _open_tracked(self) -> tracking.Tracked:
        """The W&B run with every point that the log has so far."""
        if not self.accelerator.is_main_process:
            return tracking.Tracked()
        tracked = tracking.open_run(self.experiment, self.folder, self.seed, "train")
        for point in tracking.read_points(self.folder.log):
            tracked.log(point)
        return tracked

    def _progress(self):
        bar = progress(f"training seed {self.seed}", self.options.steps, "step", done=self.step)
        bar.disable = not self.accelerator.is_main_process
        return bar


def address_seed(seed: int, purpose: str, *index: int) -> int:
    """A seed for PyTorch's own generators (initial weights, dropout) at an address of `diffusion.randomness`."""
    return int(generator(seed, purpose, *index).integers(2**63))
