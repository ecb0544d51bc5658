"""`python -m chaos [--faults N] [--seed S]`: break a small study N times, repair it as its messages say, and compare.

After each fault the same command is run again until it ends well. A study is whole if its weights, logs and values are
those of a study that met no fault. Needs root for the faults of the file system; run it by `make chaos`.
"""

import argparse
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from chaos.faults import KINDS, NEEDS_RESULTS, NEEDS_WANDB
from chaos.study import Result, Study
from records.atomic import write_text
from records.progress import progress

ATTEMPTS = 4  # of the same command after a fault
UNAIDED, REMEDIED, FAILED = "ended well", "named a remedy, then ended well", "failed"


@dataclass
class Outcome:
    """A fault, what it did, how the study ended, and the messages that name a remedy or a problem."""

    number: int
    kind: str
    detail: str = ""
    end: str = UNAIDED
    messages: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="+", metavar="NUMBER", help="faults of the campaign to repeat")
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the table to a file after each fault")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="noisemap-chaos-"))
    kinds = chosen_kinds(arguments.faults, arguments.seed)
    numbers = arguments.only or range(len(kinds))
    campaign = Campaign(folder, arguments.seed)
    with progress("faults", len(numbers), "fault") as bar, ThreadPoolExecutor(arguments.parallel) as pool:
        outcomes: list[Outcome] = []
        running = [pool.submit(campaign.run, number, kinds[number]) for number in numbers]
        for future in as_completed(running):
            outcomes.append(future.result())
            bar.update()
            if arguments.out is not None:
                write_text(arguments.out, report(outcomes, arguments.seed))
    print(report(outcomes, arguments.seed))
    if any(outcome.end == FAILED for outcome in outcomes):
        sys.exit(f"the studies that failed are in {folder}")
    shutil.rmtree(folder)


def chosen_kinds(faults: int, seed: int) -> list[str]:
    """Return the kind of each fault: in proportion to their weights, in random order."""
    names, weights = list(KINDS), [weight for _, weight in KINDS.values()]
    shares = [faults * weight / sum(weights) for weight in weights]
    counts = [int(share) for share in shares]
    by_remainder = sorted(range(len(names)), key=lambda i: shares[i] - counts[i], reverse=True)
    for i in by_remainder[: faults - sum(counts)]:
        counts[i] += 1
    kinds = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
    random.Random(seed).shuffle(kinds)
    return kinds


class Campaign:
    """Faults that all start from one study, which has met none."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.seed = folder, seed
        self.whole = Study(folder / "whole").create()
        started_s = time.monotonic()
        result = self.whole.launch()
        assert result.ended_well, result.output
        self.seconds, self.numbers = time.monotonic() - started_s, self.whole.numbers()

    def run(self, number: int, kind: str) -> Outcome:
        chance, outcome = random.Random(f"{self.seed}-{number}"), Outcome(number, kind)
        options = (f"cluster.kind={chance.choice(['debug', 'debug', 'local'])}",)
        options += ("wandb.mode=online",) if kind in NEEDS_WANDB else ()
        study = Study(self.folder / f"fault-{number}", options).create(self.whole)
        if kind in NEEDS_RESULTS:
            study.copy_results(self.whole)
        try:
            outcome.detail, results = KINDS[kind][0](study, chance, self.seconds)
            offline = Study(study.folder, options[:1])  # the same study without W&B
            self.repair(offline, outcome, results)
        except Exception as error:
            outcome.end, outcome.messages = FAILED, [*outcome.messages, repr(error)]
        if outcome.end != FAILED:
            subprocess.run(["umount", str(study.root.parent)], capture_output=True)
            shutil.rmtree(study.folder, ignore_errors=True)
        return outcome

    def repair(self, study: Study, outcome: Outcome, results: list[Result]) -> None:
        """Run the same command until it ends well, following its messages, and compare the numbers."""
        for _ in range(ATTEMPTS):
            results.append(study.launch())
            if results[-1].ended_well:
                break
            if not follow(study, results[-1], outcome):
                break
        problems = [result.problem for result in results if result.problem]
        if not results[-1].ended_well:
            problems.append(f"status {results[-1].status}: {last_lines(results[-1].output)}")
        elif differing := self.differing(study):
            verified = study.launch("verify")
            if not all(mentions(verified.output, name) for name in differing):
                problems.append(f"other numbers, unnoticed: {', '.join(differing)}")
            outcome.end = REMEDIED
            outcome.messages.append(f"verify: {last_lines(verified.output)}")
        if problems:
            outcome.end, outcome.messages = FAILED, [*outcome.messages, *problems]

    def differing(self, study: Study) -> list[str]:
        numbers = study.numbers()
        return sorted(name for name in {*numbers, *self.numbers} if numbers.get(name) != self.numbers.get(name))


def follow(study: Study, result: Result, outcome: Outcome) -> bool:
    """Remove the file or folder that the message names; return whether it names one."""
    message = last_lines(result.output)
    paths = [Path(path.rstrip(".,;:)")) for path in re.findall(rf"{re.escape(str(study.folder))}\S*", message)]
    existing = [path for path in paths if path.exists() and study.root in (path, *path.parents)]
    if "remove" not in message or not existing:
        return False
    outcome.end, outcome.messages = REMEDIED, [*outcome.messages, message.replace(str(study.root), "…")]
    shutil.rmtree(existing[0]) if existing[0].is_dir() else existing[0].unlink()
    return True


def mentions(output: str, name: str) -> bool:
    """Return whether a file or a folder above it is named."""
    return any(str(parent) in output for parent in (Path(name), *Path(name).parents) if len(parent.parts) > 1)


def last_lines(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return " / ".join(errors or lines[-3:])


def report(outcomes: list[Outcome], seed: int) -> str:
    lines = [f"| fault | number | {UNAIDED} | {REMEDIED} | {FAILED} |", "|---|--:|--:|--:|--:|"]
    for kind in KINDS:
        ends = Counter(outcome.end for outcome in outcomes if outcome.kind == kind)
        if ends:
            lines.append(f"| {kind} | {ends.total()} | {ends[UNAIDED]} | {ends[REMEDIED]} | {ends[FAILED]} |")
    ends = Counter(outcome.end for outcome in outcomes)
    lines += [f"| all | {ends.total()} | {ends[UNAIDED]} | {ends[REMEDIED]} | {ends[FAILED]} |", ""]
    for end, title in ((FAILED, "Failed"), (REMEDIED, "Remedies")):
        chosen = sorted((outcome for outcome in outcomes if outcome.end == end), key=lambda outcome: outcome.number)
        lines += [f"## {title}", ""] if chosen else []
        for outcome in chosen:
            lines += [f"* {outcome.number}, {outcome.kind} ({outcome.detail}): {'; '.join(outcome.messages)}"]
        lines += [""] if chosen else []
    return "\n".join([f"Seed {seed}.", "", *lines])


if __name__ == "__main__":
    main()
