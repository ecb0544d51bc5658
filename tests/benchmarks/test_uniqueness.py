"""The benchmark of uniqueness runs on a real network, and its summary separates the two sides of 1."""

import torch
from safetensors.torch import load_file

from benchmarks.uniqueness import main, summary


def test_images_of_the_trained_network_are_recovered(pipelines, tmp_path, capsys):
    torch.save(load_file(pipelines / "trained32.safetensors"), tmp_path / "ema_0.99_000500.pt")
    options = ["openai.schedule=cosine", "openai.steps=4000", "analyze.precision=fp32", "analyze.ddim_steps=4"]
    images = ["analyze.samples=4", "analyze.measures.inverter_images=2"]
    main([str(tmp_path / "ema_0.99_000500.pt"), f"runs={tmp_path}/runs", *options, *images])
    lines = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("| 0 ") or line.startswith("| 1 ")
    ]
    assert len(lines) == 2
    for line in lines:
        real_part, _, fixed_point, _, anderson, _ = map(float, line.strip("| ").split("|")[1:])
        assert real_part < 1 and fixed_point < 1e-2 and anderson < 1e-2


def test_summary_separates_the_images_at_1():
    text = summary(torch.tensor([0.5, 2.0, 0.9]), torch.tensor([0.25, 30.0, 0.5]), 0.3)
    assert text == (
        "largest real part at most 1: 1 of 2 images recovered; above 1: 0 of 1 images recovered (error at most 0.3)"
    )
