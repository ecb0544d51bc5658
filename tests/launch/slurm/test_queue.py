"""The answers of SLURM's commands."""

from launch.slurm import queue


def test_canceled_jobs_of_an_array_are_one_line_of_sacct(slurm):
    """SLURM cuts a long list of numbers."""
    lines = [
        "17_0|COMPLETED",
        "17_1|CANCELLED by 0",
        "17_[2-3,5%16]|CANCELLED by 0",
        "18|FAILED",
        "19_[3,5,...]|CANCELLED",
    ]
    command = slurm.folder / "bin" / "sacct"
    command.write_text(
        "\n".join(["#!/bin/sh", '[ "$SLURM_BITSTR_LEN" = 0 ] || exit 1', *(f"echo '{line}'" for line in lines)])
    )
    canceled = dict.fromkeys(["17_1", "17_2", "17_3", "17_5", "19_3", "19_5"], "CANCELLED")
    assert queue.final_states(["17_0", "18", "19_3"]) == {"17_0": "COMPLETED", "18": "FAILED"} | canceled
