"""Work of the jobs of a model study."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from analyze import slices
from analyze.model import ModelAnalysis, open_analyses, open_analysis, stored_analysis
from analyze.model_record import recorded_facts
from configs.schema import ModelStudy
from launch.jobs import Collect, Work
from records.atomic import PARTIAL, write_text
from records.layout import evaluation_seconds_file


@dataclass(frozen=True)
class ModelWork(Work):
    """Work on one number T of DDIM steps."""

    study: ModelStudy
    ddim_steps: int

    def stored(self) -> ModelAnalysis | None:
        """Return the analysis of T without opening the model, or None before the first launch."""
        facts = recorded_facts(self.study)
        return stored_analysis(self.study, facts, self.ddim_steps) if facts else None

    @contextmanager
    def generated(self, part: range) -> Iterator[ModelAnalysis]:
        """Yield the analysis of T after generating the images of `part`, and store the time per network evaluation."""
        calls: list[int] = []
        with open_analysis(self.study, self.ddim_steps, calls.append) as analysis:
            started_s = time.monotonic()
            analysis.generate(part)
            if calls:
                seconds = (time.monotonic() - started_s) / sum(calls)
                write_text(evaluation_seconds_file(self.study), f"{seconds:.4e}\n")
            yield analysis


@dataclass(frozen=True)
class Generate(ModelWork):
    """Generate the tensors of a slice of the images."""

    kind = "generate"
    unit = "images"

    start: int
    stop: int

    @property
    def part(self) -> range:
        return range(self.start, self.stop)

    @property
    def size(self) -> int:
        return len(self.part)

    def _run(self) -> None:
        with self.generated(self.part):
            pass

    def progress(self) -> int:
        """Return the negative number of missing images, of all tensors."""
        analysis = self.stored()
        return -_missing_images(analysis, self.ddim_steps, self.part) if analysis else 0

    def record(self) -> dict[str, Any]:
        return {"ddim_steps": self.ddim_steps, "images": [self.start, self.stop]}


@dataclass(frozen=True)
class AnalyzeModel(ModelWork):
    """Generate the missing images, join all slices and measure the tensors; the failure of a measure is recorded."""

    kind = "analyze"

    def _run(self) -> None:
        with self.generated(range(self.study.analyze.samples)) as analysis:
            analysis.analyze(analysis.steps)
            if not analysis.failures():
                analysis.decode()

    def progress(self) -> int:
        """Return the number of results and of files with whole tensors, less that of missing images of all tensors."""
        if (analysis := self.stored()) is None:
            return 0
        files = {file for folder in (analysis.folder, analysis.generations_folder) for file in folder.rglob("*.*")}
        whole = [file for file in files if not file.name.startswith(PARTIAL) and file.parent.name != slices.FOLDER]
        missing = _missing_images(analysis, self.ddim_steps, range(self.study.analyze.samples))
        return len(whole) + len(analysis.results(self.ddim_steps)) - missing

    def record(self) -> dict[str, Any]:
        return {"ddim_steps": self.ddim_steps}


def _missing_images(analysis: ModelAnalysis, ddim_steps: int, part: range) -> int:
    """Return the number of missing images of a part, in total over all tensors that are generated in slices."""
    generations = analysis.generations(ddim_steps)
    return sum(len(gap) for name in slices.SLICED for gap in slices.missing(generations, name, part))


@dataclass(frozen=True)
class CollectModel(Collect):
    """Collect the results of a model study."""

    study: ModelStudy

    def _collect(self) -> None:
        from analyze.report.model import collect

        collect(self.study, *open_analyses(self.study), failed=self.failed)
