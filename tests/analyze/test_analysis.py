"""Each checkpoint's generations and measures are made once, made again when they must be, and fail one by one."""

import dataclasses
import json
import os
import threading
from pathlib import Path

import pytest
import torch

from analyze.analysis import SeedAnalysis, analyze_experiment
from analyze.background import BackgroundWorker
from analyze.measures import MEASURES, Measure
from analyze.measures.distances import distances
from analyze.measures.triangle import triangle
from analyze.settings import fingerprint
from configs.errors import UserError
from records import checkpoint

STEPS = [0, 2, 5, 8]
ONLY_OF_THE_LAST = {"reconstruction", "interpolation_map"}
OFF = {"fid"}


@pytest.fixture
def trained(with_checkpoints) -> SeedAnalysis:
    """The analysis of a seed that has its checkpoints, nothing of which is done."""
    return SeedAnalysis(with_checkpoints("seeds=[0]"), 0)


@pytest.fixture
def done(analyzed) -> SeedAnalysis:
    """The analysis of a seed, all of which is done."""
    return SeedAnalysis(analyzed("seeds=[0]"), 0)


def test_a_failing_measure_is_named_and_keeps_the_results_of_the_others(trained, monkeypatch):
    def brightness(samples):
        raise ZeroDivisionError("no light")

    monkeypatch.setattr("analyze.analysis.MEASURES", [Measure(distances), Measure(brightness), Measure(triangle)])
    trained.analyze([8])
    assert trained.failures() == {8: "brightness failed: ZeroDivisionError: no light"} and 8 in trained.missing()
    assert trained.results(8).keys() == {"distances", "triangle"}
    monkeypatch.setattr("analyze.analysis.MEASURES", [Measure(distances), Measure(triangle)])
    trained.analyze([8])
    assert 8 not in trained.missing() and trained.failures() == {}


def changed(analysis: SeedAnalysis, **options) -> SeedAnalysis:
    """The same seed with other options of `analyze`; those of its measures are given as knn_k=… and so on."""
    measures = {key: value for key, value in options.items() if hasattr(analysis.options.measures, key)}
    rest = {key: value for key, value in options.items() if key not in measures}
    analyze = dataclasses.replace(analysis.options, **rest)
    analyze = dataclasses.replace(analyze, measures=dataclasses.replace(analyze.measures, **measures))
    return SeedAnalysis(dataclasses.replace(analysis.experiment, analyze=analyze), analysis.seed)


def values(analysis: SeedAnalysis, step: int) -> dict[str, dict[str, float]]:
    return {name: result["values"] for name, result in analysis.results(step).items() if "values" in result}


def generations(analysis: SeedAnalysis, step: int) -> list[Path]:
    """The files that a step's generations are kept in."""
    found = (analysis.folder / "generations").rglob(f"{step:09d}*")
    return sorted(file for path in found for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def written(analysis: SeedAnalysis, step: int) -> list[tuple]:
    """When the generations of a step were written, and what."""
    return [(file.stat().st_mtime_ns, file.stat().st_ino, file.read_bytes()) for file in generations(analysis, step)]


def cut_off(analysis: SeedAnalysis, step: int) -> str:
    """Damages the weights of a checkpoint; returns the file's name."""
    file = analysis.run.checkpoint(step) / "ema_0.99.safetensors"
    os.truncate(file, file.stat().st_size // 2)
    return str(file)


def test_every_measure_of_every_checkpoint_is_there_and_kept(trained):
    assert trained.steps == STEPS and trained.missing() == STEPS[::-1]
    trained.analyze(trained.missing())
    again = SeedAnalysis(trained.experiment, 0)
    assert again.missing() == [] and again.failures() == {}
    for step in STEPS:
        wanted = {measure.name for measure in MEASURES} - OFF - (ONLY_OF_THE_LAST if step != 8 else set())
        assert again.results(step).keys() == wanted
        assert "DINO" in again.results(step)["dino"]["unavailable"]
        assert json.loads(trained.results_file(step).read_text())["versions"]["torch"] == torch.__version__
    assert values(again, 8)["cka"]["biased"] == pytest.approx(1) and values(again, 0)["cka"]["biased"] < 0.9999


def test_what_is_there_is_not_made_again(done):
    before = {file: file.stat().st_mtime_ns for file in done.folder.rglob("0*")}
    for step in STEPS:
        (done.run.checkpoint(step) / "ema_0.99.safetensors").unlink()
    done.analyze(STEPS)
    assert done.failures() == {} and len(before) >= 2 * len(STEPS)
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_a_measures_option_makes_that_measure_stale_and_nothing_else(done):
    before, kept = values(done, 2), {step: written(done, step) for step in STEPS}
    other = changed(done, knn_k=1)
    assert other.folder == done.folder and other.missing() == STEPS[::-1]
    other.analyze(STEPS)
    assert other.missing() == [] and done.missing() == STEPS[::-1]
    assert kept == {step: written(done, step) for step in STEPS} and all(kept.values())
    after = values(other, 2)
    assert after.pop("knn_coverage") != before.pop("knn_coverage") and after == before


@pytest.mark.parametrize(
    "options",
    [{"ddim_steps": 5}, {"samples": 9}, {"clip_denoised": False}, {"weights": "model"}, {"noise_seed": 1}],
    ids=lambda options: next(iter(options)),
)
def test_what_shapes_the_generations_has_a_folder_of_its_own(options, tiny):
    one = SeedAnalysis(tiny(), 0)
    assert fingerprint(changed(one, **options).options) != fingerprint(one.options)


def test_what_does_not_shape_the_generations_has_not(tiny):
    one = SeedAnalysis(tiny(), 0)
    for options in ({"pictures": 1}, {"batch_size": 3}, {"compile": True}, {"knn_k": 2}):
        assert fingerprint(changed(one, **options).options) == fingerprint(one.options)


def test_half_precision_has_a_folder_of_its_own_and_is_written_down(trained):
    half = changed(trained, precision="bf16")
    half.analyze([STEPS[-1]])
    assert "-bf16-" in half.folder.name and "precision: bf16" in (half.folder / "analysis.yaml").read_text()
    plain, in_half = (one.generations(STEPS[-1])["samples"] for one in (trained, half))
    assert not torch.equal(plain, in_half) and (plain - in_half).norm() < 0.02 * plain.norm()


def test_results_do_not_depend_on_the_batch_size(done):
    (done.run.root / "analysis").rename(done.run.root / "before")
    other = changed(done, batch_size=3)
    other.analyze(STEPS)
    (done.run.root / "analysis").rename(done.run.root / "after")
    files = {when: sorted((done.run.root / when).glob("*/0*.json")) for when in ("before", "after")}
    for old, new in zip(files["before"], files["after"], strict=True):
        old, new = (json.loads(file.read_text())["measures"] for file in (old, new))
        for name in old:
            if name not in ("dino", "interpolation_map"):
                assert new[name]["values"] == pytest.approx(old[name]["values"], rel=1e-5, abs=1e-5), name


def test_a_later_last_checkpoint_makes_stale_what_was_compared_with_it(done, with_checkpoints):
    before, kept = values(done, 2), written(done, 2)
    longer = SeedAnalysis(with_checkpoints("seeds=[0]", "train.steps=12"), 0)
    assert longer.steps == [0, 2, 5, 12] and longer.missing() == [12, 5, 2, 0]
    longer.analyze(longer.missing())
    after = values(longer, 2)
    assert longer.missing() == [] and set(kept) <= set(written(longer, 2))
    changed = {name for name in after if after[name] != before[name]}
    # Of so few images SVCCA is 1 whatever they are.
    assert changed | {"svcca"} == {"knn_coverage", "cka", "svcca", "ssim", "early_inverter"}


def test_measuring_beside_generating_finds_the_same(done, monkeypatch):
    """As on a GPU: while one checkpoint is measured the next one is generated."""
    folder, threads, after = done.run.root / "analysis", set(), []
    folder.rename(done.run.root / "before")
    measure = SeedAnalysis._measure
    monkeypatch.setattr("analyze.analysis.BackgroundWorker", lambda overlap: BackgroundWorker(True))
    monkeypatch.setattr(
        SeedAnalysis, "_measure", lambda *its: (threads.add(threading.current_thread()), measure(*its))[1]
    )
    done.analyze(STEPS, lambda: after.append(len(list(folder.glob("*/0*.json")))))
    assert done.missing() == [] and after == [1, 2, 3, 4] and threading.main_thread() not in threads
    for file in (done.run.root / "before").glob("*/0*.json"):
        assert (folder / file.relative_to(done.run.root / "before")).read_text() == file.read_text()


def test_a_damaged_checkpoint_is_noted_and_the_others_go_on(trained):
    file = cut_off(trained, 2)
    trained.analyze(trained.missing())
    assert trained.missing() == [2] and trained.results(2) == {}
    assert trained.failures().keys() == {2} and file in trained.failures()[2]
    noted = json.loads(trained.failure_file(2).read_text())
    assert noted == {"step": 2, "why": trained.failures()[2]} and "\n" not in noted["why"]


def test_a_note_goes_when_its_checkpoint_is_well_again(trained):
    file = trained.run.checkpoint(2) / "ema_0.99.safetensors"
    whole = file.read_bytes()
    cut_off(trained, 2)
    trained.analyze([2])
    assert trained.failures().keys() == {2}
    file.write_bytes(whole)
    trained.analyze([2])
    assert trained.failures() == {} and 2 not in trained.missing()


def test_a_damaged_last_checkpoint_is_what_all_others_say(trained):
    file = cut_off(trained, 8)
    trained.analyze(STEPS)
    assert trained.missing() == STEPS[::-1]
    assert all(file in why for why in trained.failures().values()) and trained.failures().keys() == set(STEPS)
    assert all("the last checkpoint" in trained.failures()[step] for step in (0, 2, 5))


def test_weights_that_are_not_finite_fail_with_a_sentence(trained):
    path = trained.run.checkpoint(5)
    source = checkpoint.read(path)
    weights = {name: torch.full_like(value, torch.nan) for name, value in source.weights("ema_0.99").items()}
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    checkpoint.write(path, 5, 0, source.model, source.diffusion, {"ema_0.99": weights})
    trained.analyze(STEPS)
    assert trained.missing() == [5] and "not finite" in trained.failures()[5]
    assert generations(trained, 5) == []


def test_generations_that_were_cut_off_are_made_again(done):
    expected = values(done, 5), [file.read_bytes() for file in generations(done, 5)]
    for file in generations(done, 5):
        file.write_bytes(file.read_bytes()[:-100])
    done.results_file(5).unlink()
    done.analyze([5])
    assert (values(done, 5), [file.read_bytes() for file in generations(done, 5)]) == expected


@pytest.mark.parametrize("content", ["", "{", '{"step": 5}', "[]"])
def test_results_that_make_no_sense_are_made_again(content, done):
    expected = values(done, 5)
    done.results_file(5).write_text(content)
    assert done.missing() == [5]
    done.analyze([5])
    assert values(done, 5) == expected


def test_analyze_experiment_completes_all_seeds(with_checkpoints, capsys):
    experiment = with_checkpoints("seeds=[0,1]")
    analyze_experiment(experiment)
    assert all(SeedAnalysis(experiment, seed).missing() == [] for seed in (0, 1))
    assert "8 of 8 checkpoints" in capsys.readouterr().err
    analyze_experiment(experiment)
    assert capsys.readouterr().err == ""


def test_analyze_experiment_without_checkpoints_is_a_user_error(tiny):
    with pytest.raises(UserError, match="contains no checkpoints; train first"):
        analyze_experiment(tiny())
