"""The analysis of a whole experiment, and what comes of it: report, W&B, findings."""

from analyze.analysis import SeedAnalysis
from analyze.curves import curves
from analyze.report import wandb_runs
from analyze.report.findings import findings
from analyze.report.paper_figures import write_figures
from analyze.report.paper_tables import write_tables
from analyze.report.study import missing, unavailable, write_report
from configs.errors import UserError
from configs.schema import Experiment
from records.layout import experiment_folder
from records.progress import progress
from records.tracking.runs import offline_runs, resolved_mode


def analyse(experiment: Experiment) -> None:
    """Analyses every checkpoint that is there and not yet done, in this process.

    Raises UserError where there is no checkpoint at all.
    """
    analyses = [SeedAnalysis(experiment, seed) for seed in experiment.seeds]
    if not any(analysis.steps for analysis in analyses):
        raise UserError(f"{experiment_folder(experiment)} holds no checkpoints yet; train first: python -m train …")
    todo = [(analysis, steps) for analysis in analyses if (steps := analysis.missing())]
    with progress("analysing", sum(len(steps) for _, steps in todo), "checkpoint", shown=bool(todo)) as bar:
        for analysis, steps in todo:
            analysis.analyse(steps, bar.update)


def collect(experiment: Experiment, failed: UserError | None = None) -> None:
    """Report and W&B from all that is measured, and a summary on the terminal.

    Raises UserError, after all of it is made, where jobs `failed` or a checkpoint is missing.
    """
    analyses = [SeedAnalysis(experiment, seed) for seed in experiment.seeds]
    figures, written, report = write_figures(experiment), write_tables(experiment), write_report(experiment)
    for analysis in analyses:
        wandb_runs.publish_analysis(analysis)
    print("\n" + "\n".join(findings(experiment, curves(analyses))))
    for reason in unavailable(analyses):
        print(f"Not measured: {reason}.")
    print(f"\nReport:  {report}")
    print(f"Figures: {report.parent / 'figures'} ({len(figures)} files)")
    print(f"Tables:  {report.parent / 'tables'} ({len(written)} files)")
    _print_wandb(experiment)
    lacking = [str(failed)] if failed else missing(experiment)
    if lacking:
        raise UserError("the study is not complete: " + "; ".join(lacking))


def _print_wandb(experiment: Experiment) -> None:
    folder = experiment_folder(experiment)
    if resolved_mode(experiment) != "disabled" and offline_runs(folder):
        print(f"W&B:     {len(offline_runs(folder))} offline runs; look at them with  wandb leet {folder / 'wandb'}")
        print(f"         or upload them with  wandb sync {folder / 'wandb'}/offline-run-*  (after wandb login)")
