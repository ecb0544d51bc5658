"""Cases of one reader, run in a child process with limits on memory and time.

A case is a folder of files. It ends well if the reader accepts the files or raises UserError, calls nothing that a
pickle names, and writes nothing outside its folder.
"""

import faulthandler
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from configs.errors import UserError

PATHS = (Path(__file__).parents[1], Path(__file__).parents[2])
GIBIBYTE = 2**30
MEMORY = 2 * GIBIBYTE
# A limit refused this memory. On a larger machine the reader would have used it.
OUT_OF_MEMORY = re.compile(r"MemoryError|allocate|out of memory|Cannot allocate", re.IGNORECASE)


@dataclass(frozen=True)
class Outcome:
    """Number of accepted and rejected cases, and the first failure."""

    accepted: int
    rejected: int
    failure: str


def run_cases(module: str, name: str, folder: Path, cases: int, seed: int) -> Outcome:
    """Run the hostile examples and `cases` random cases of a reader in a child process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fuzz.preload"])
    child = context.Process(target=_child, args=(module, name, folder, cases, seed))
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, PATHS))):  # for the server
        child.start()
    child.join()
    if child.exitcode == 0:
        return Outcome(**json.loads((folder / "outcome.json").read_text(encoding="utf-8")))
    trace = (folder / "trace").read_text(encoding="utf-8")
    reason = "took too long" if "Timeout" in trace else f"the process ended with status {child.exitcode}"
    return Outcome(0, 0, f"{reason}; the files are in {folder / 'case'}\n{trace}")


def _child(module: str, name: str, folder: Path, cases: int, seed: int) -> None:
    import importlib

    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")
    os.chdir(folder)
    with open(folder / "trace", "w", encoding="utf-8") as trace:
        faulthandler.enable(trace)
        warnings.simplefilter("ignore")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # progress bars and warnings of every case
        readers = importlib.import_module(module)
        _limit_memory()
        counts: Counter[str] = Counter()
        try:
            _run(readers.READERS[name], folder, cases, seed, counts, trace)
            failure = ""
        except Exception as error:
            failure = f"{_describe(error)}\nThe files of the last failure are in {folder / 'case'}"
        outcome = {"accepted": counts["accepted"], "rejected": counts["rejected"], "failure": failure}
        (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")


def _describe(error: BaseException) -> str:
    """Return the errors of a group, each with its innermost line of the project."""
    if isinstance(error, BaseExceptionGroup):
        return "\n".join(dict.fromkeys(map(_describe, error.exceptions)))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    frames = [frame for frame in frames if "/lib/python" not in frame.filename]
    where = f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else ""
    return f"{type(error).__name__}: {str(error)[:300]!r}\n    {where}"


def _limit_memory() -> None:
    used = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def _run(reader, folder: Path, cases: int, seed: int, counts: Counter, trace) -> None:
    """Run the hostile examples, at most half of the cases, and random cases. Raises ExceptionGroup if any fail."""
    import hypothesis
    from hypothesis import HealthCheck, Phase

    tree = reader.example(folder)
    write_tree(tree, folder / "case")
    reader.read(folder / "case")
    hostile = reader.hostile(tree, folder / "executed")
    failures = []
    for example in random.Random(seed).sample(hostile, min(len(hostile), cases // 2)):
        try:
            counts[outcome(reader, example, folder, trace)] += 1
        except Exception as error:
            failures.append(error)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=cases - sum(counts.values()),
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(reader.damaged(tree))
    def case(damaged: dict[str, bytes]) -> None:
        counts[outcome(reader, damaged, folder, trace)] += 1

    try:
        case()
    except Exception as error:
        failures.append(error)
    if failures:
        raise ExceptionGroup("cases", failures)


def write_tree(tree: dict[str, bytes], folder: Path) -> None:
    """Replace a folder by the files of a tree."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def outcome(reader, tree: dict[str, bytes], folder: Path, trace) -> str:
    """Run a case; return "accepted" or "rejected"."""
    case = folder / "case"
    write_tree(tree, case)
    before = sorted(folder.iterdir())
    faulthandler.dump_traceback_later(reader.case_s, exit=True, file=trace)
    try:
        reader.read(case)
        result = "accepted"
    except UserError as error:
        assert not OUT_OF_MEMORY.search(str(error)), f"needs much memory: {error}"
        result = "rejected"
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert sorted(folder.iterdir()) == before, "a file was written outside of the folder, or a pickle was executed"
    return result
