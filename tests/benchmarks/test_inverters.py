"""The benchmark of inverters runs on a real network, and its rows count what their columns say."""

import torch

from benchmarks.inverters import main, row


def test_rows_count_diverged_images():
    errors, naive = torch.tensor([0.5, 3.0, torch.inf]).double(), torch.tensor([1.0, 1.0, 1.0]).double()
    noise = torch.full((3, 1, 2, 2), 1.0)  # of norm 2
    assert row("x", 20, errors, naive, noise) == "| x | 20 | inf | 3 | inf | inf | inf | 2 | 1 | 2 |"


def test_inverters_run_with_every_value_of_their_options(repository, tmp_path, capsys):
    weights = str(repository / "tests" / "reference" / "trained32.safetensors")
    main(
        [
            weights, f"runs={tmp_path}", "openai.schedule=cosine", "openai.steps=4000", "analyze.precision=fp32",
            "analyze.ddim_steps=2", "analyze.samples=4", "analyze.batch_size=2", "analyze.measures.inverter_images=2",
            "inverters=[extrapolated Anderson]", "nfe=[4]", "solver.window=[0,3]", "solver.order=[1]",
        ]
    )  # fmt: skip
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| naive (diffusers)",
        "| extrapolated Anderson, K = 2, window = 0, order = 1",
        "| extrapolated Anderson, K = 2, window = 3, order = 1",
    ]
    assert [row.split(" | ")[1] for row in rows] == ["2", "4", "4"]
