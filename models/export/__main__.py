"""Export of a checkpoint for other programs: python -m models.export CHECKPOINT --to FORMAT OUT."""

import argparse
from pathlib import Path

from configs.errors import UserError, run_command
from models.export.pipeline import export_pipeline
from models.improved_diffusion import export_checkpoint


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m models.export", description="export a checkpoint for other programs"
    )
    parser.add_argument("checkpoint", type=Path, help="e.g. runs/cifar10/seed_0/checkpoints/000700000")
    parser.add_argument("--to", required=True, choices=["diffusers", "improved-diffusion"], help="format")
    parser.add_argument("out", type=Path, help="folder to write")
    weights_help = '"ema_<rate>" or "model"; default: the slowest moving average, and all for improved-diffusion'
    parser.add_argument("--weights", help=weights_help)
    sampler_help = "for diffusers: DDIM, or DDPM with the variance of the training; default: ddim"
    parser.add_argument("--sampler", choices=["ddim", "ddpm"], help=sampler_help)
    parsed = parser.parse_intermixed_args(arguments)
    if parsed.to == "diffusers":
        paths = [export_pipeline(parsed.checkpoint, parsed.out, parsed.weights, parsed.sampler or "ddim")]
    elif parsed.sampler:
        raise UserError("--sampler applies only to --to diffusers; remove it")
    else:
        paths = export_checkpoint(parsed.checkpoint, parsed.out, parsed.weights)
    print("\n".join(map(str, paths)))


if __name__ == "__main__":
    run_command(main)
