"""Judgement of a fault: how commands ended, what their messages name to remove, and which changes were noticed."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from omegaconf import OmegaConf

from chaos.study import Result, Study

ATTEMPTS = 4  # of the same command after a fault
UNAIDED, REMEDIED = "ended well", "named a remedy, then ended well"
REMADE, FAILED = "advised to remove a whole run, then ended well", "failed"
ENDS = (UNAIDED, REMEDIED, REMADE, FAILED)  # from good to bad

Requirement = Callable[[list[Result]], list[str]]  # returns what is wrong with the commands that met a fault


@dataclass
class Outcome:
    """A fault, what it did, how the study ended, and the messages that name a remedy or a problem."""

    number: int
    kind: str
    detail: str = ""
    end: str = UNAIDED
    messages: list[str] = field(default_factory=list)

    def worsen(self, end: str, *messages: str) -> None:
        self.end = max(self.end, end, key=ENDS.index)
        self.messages.extend(messages)


def any_end(results: list[Result]) -> list[str]:
    """Accept every end: a command may fail on this fault."""
    return []


def all_end_well(results: list[Result]) -> list[str]:
    """Accept only commands that end well; tracebacks and hangs are reported for every fault."""
    return [_describe(result) for result in results if not result.ended_well and not result.problem]


def one_ends_well(results: list[Result]) -> list[str]:
    """Accept one command that ends well, and others that end well or with one sentence."""
    if not any(result.ended_well for result in results):
        return all_end_well(results)
    return all_end_well([result for result in results if not result.is_one_sentence])


def judge(study: Study, requirement: Requirement, outcome: Outcome, results: list[Result], numbers: dict) -> None:
    """Judge the commands that met the fault, repair the study, and compare its numbers with those of a whole study."""
    problems = requirement(results)
    results = [*results, *repair(study, outcome)]
    problems += [result.problem for result in results if result.problem]
    if not results[-1].ended_well:
        problems.append(f"status {results[-1].status}: {last_lines(results[-1].output)}")
    elif differing := different(study.numbers(), numbers):
        verified = study.launch("verify").output
        outcome.worsen(REMEDIED, f"verify: {last_lines(verified)}")
        if unnoticed := [name for name in differing if not mentions(verified, name)]:
            problems.append(f"other numbers, unnoticed: {', '.join(unnoticed)}")
    if problems:
        outcome.worsen(FAILED, *problems)


def repair(study: Study, outcome: Outcome) -> list[Result]:
    """Run the same command until it ends well, following its messages; return how it ended each time."""
    results = []
    for _ in range(ATTEMPTS):
        results.append(study.launch())
        if results[-1].ended_well or not follow(study, results[-1], outcome):
            break
    return results


def different(numbers: dict, expected: dict) -> list[str]:
    """Return the names of the files whose numbers differ."""
    return sorted(name for name in {*numbers, *expected} if numbers.get(name) != expected.get(name))


def follow(study: Study, result: Result, outcome: Outcome) -> bool:
    """Correct or remove the file or folder that the message names; return whether it names one."""
    message = last_lines(result.output)
    if corrected := _correct_config(message):
        outcome.worsen(REMEDIED, message.replace(str(study.folder), "…"))
        return corrected
    paths = [Path(path.rstrip(".,;:)")) for path in re.findall(rf"{re.escape(str(study.folder))}\S*", message)]
    existing = [path for path in paths if path.exists() and {study.root, study.data} & {path, *path.parents}]
    if "remove" not in message or not existing:
        return False
    path = existing[0]
    end = REMADE if path == study.root or path in study.runs else REMEDIED
    outcome.worsen(end, message.replace(str(study.folder), "…"))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return True


def _correct_config(message: str) -> bool:
    """Write the values that the message names back to a changed config.yaml; return whether it names one."""
    if (file := re.search(r"correct (\S+/config\.yaml)", message)) is None:
        return False
    config = OmegaConf.load(file[1])
    for option, value in re.findall(r"[(;] ?([\w.]+): [^;)]*, now ([^;)]+)", message):
        OmegaConf.update(config, option, yaml.safe_load(value))
    OmegaConf.save(config, file[1])
    return True


def mentions(output: str, name: str) -> bool:
    """Return whether a file or its folder is named; the folder of a run says nothing about one of its files."""
    folder = Path(name).parent
    names = [name, str(folder)] if len(folder.parts) > 1 else [name]
    return any(re.search(rf"/{re.escape(each)}(?![\w./-])", output) for each in names)


def last_lines(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return " / ".join(errors or lines[-3:])


def _describe(result: Result) -> str:
    return f"the command that met the fault: status {result.status}: {last_lines(result.output)}"
