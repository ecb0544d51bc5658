"""`python -m chaos [--faults N] [--seed S]`: break a small study N times, repair it as its messages say, and compare.

After each fault the same command is run again until it ends well. A study is whole if its weights, logs and values are
those of a study that met no fault. Needs root for the faults of the file system; run it by `make chaos`.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from chaos.faults import KINDS, Kind
from chaos.judgement import ENDS, FAILED, REMADE, REMEDIED, Outcome, judge
from chaos.study import Study
from records.atomic import write_text
from records.progress import progress


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
    names, weights = list(KINDS), [kind.weight for kind in KINDS.values()]
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
        chance, outcome, how = random.Random(f"{self.seed}-{number}"), Outcome(number, kind), KINDS[kind]
        study = self.study(number, how, chance)
        try:
            outcome.detail, results = how.fault(study, chance, self.seconds)
            without_wandb = Study(study.folder, study.options[:1])
            judge(without_wandb, how.requirement, outcome, results, self.numbers)
        except Exception as error:
            outcome.worsen(FAILED, repr(error))
        if outcome.end != FAILED:
            subprocess.run(["umount", str(study.root.parent)], capture_output=True)
            shutil.rmtree(study.folder, ignore_errors=True)
        return outcome

    def study(self, number: int, how: Kind, chance: random.Random) -> Study:
        """Return a study for a fault, with the results of the whole one if the fault needs them."""
        options = (f"cluster.kind={chance.choice(['debug', 'debug', 'local'])}",)
        options += ("wandb.mode=online",) if how.with_wandb else ()
        study = Study(self.folder / f"fault-{number}", options).create(self.whole)
        if how.of_finished_study:
            study.copy_results(self.whole)
        return study


def report(outcomes: list[Outcome], seed: int) -> str:
    lines = [f"| fault | number | {' | '.join(ENDS)} |", f"|---|{'--:|' * (1 + len(ENDS))}"]
    lines += [row(kind, chosen) for kind in KINDS if (chosen := [each for each in outcomes if each.kind == kind])]
    lines += [row("all", outcomes), ""]
    for end in (FAILED, REMADE, REMEDIED):
        chosen = sorted((outcome for outcome in outcomes if outcome.end == end), key=lambda outcome: outcome.number)
        lines += [f"## {end.capitalize()}", ""] if chosen else []
        for outcome in chosen:
            lines += [f"* {outcome.number}, {outcome.kind} ({outcome.detail}): {'; '.join(outcome.messages)}"]
        lines += [""] if chosen else []
    return "\n".join([f"Seed {seed}.", "", *lines])


def row(name: str, outcomes: list[Outcome]) -> str:
    """Return the row of a table with the number of outcomes by their end."""
    ends = Counter(outcome.end for outcome in outcomes)
    return f"| {name} | {ends.total()} | {' | '.join(str(ends[end]) for end in ENDS)} |"


if __name__ == "__main__":
    main()
