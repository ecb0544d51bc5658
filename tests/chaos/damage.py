"""Faults of files: one file of a finished study changes, or a state or the data of a half-trained one."""

import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

from chaos.study import Result, Study, finish

JOBS_END_S = 3.0  # local jobs notice every half second whether their launcher has ended
Change = Callable[[Path, random.Random], str]


def delete(file: Path, _: random.Random) -> str:
    file.unlink()
    return "deleted"


def truncate(file: Path, chance: random.Random) -> str:
    size = chance.randrange(file.stat().st_size)
    os.truncate(file, size)
    return f"truncated to {size} bytes:"


def flip_bit(file: Path, chance: random.Random) -> str:
    content = bytearray(file.read_bytes())
    position, bit = chance.randrange(len(content)), chance.randrange(8)
    content[position] ^= 1 << bit
    file.write_bytes(content)
    return f"flipped bit {bit} of byte {position} of"


def damaged(change: Change) -> Callable[[Study, random.Random, float], tuple[str, list[Result]]]:
    """Return the fault that one file of a finished study changes."""

    def inject(study: Study, chance: random.Random, _: float) -> tuple[str, list[Result]]:
        by_kind = files_by_kind(study, with_empty=change is delete)
        return _change([chance.choice(by_kind[chance.choice(sorted(by_kind))])], change, study, chance), []

    return inject


def files_by_kind(study: Study, with_empty: bool) -> dict[str, list[Path]]:
    """Return the files of a study and its data by kind: their path without numbers; jobs and reports are one kind."""
    by_kind: dict[str, list[Path]] = {}
    for path in sorted([*study.root.rglob("*"), *study.data.rglob("*")]):
        if path.is_file() and (with_empty or path.stat().st_size):
            name = re.sub(r"\d+", "N", str(path.relative_to(study.folder)))
            by_kind.setdefault(re.sub("/(jobs|report)/.*", r"/\1", name), []).append(path)
    return by_kind


def stopped_and_damaged(study: Study, chance: random.Random, _: float) -> tuple[str, list[Result]]:
    """Stop a launch that has saved a training state, then damage every state, the newest one, or a file of the data."""
    process = study.start()
    while process.poll() is None and not study.states():
        time.sleep(0.05)
    time.sleep(chance.uniform(0, 0.5))
    process.terminate()
    result = finish(process)
    time.sleep(JOBS_END_S)
    states, data = study.states(), sorted(study.data.glob("*/*"))
    files = chance.choice([states, states[-1:], [chance.choice(data)]])
    return _change(files, chance.choice([delete, truncate, flip_bit]), study, chance), [result]


def _change(files: list[Path], change: Change, study: Study, chance: random.Random) -> str:
    return ", ".join(f"{change(file, chance)} {file.relative_to(study.folder)}" for file in files)
