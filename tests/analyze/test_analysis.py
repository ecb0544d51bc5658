"""Tests that generations and measures are computed once, recomputed if stale, and fail independently."""

import dataclasses
import errno
import json
from pathlib import Path

import pytest
import torch

from analyze.analysis import SeedAnalysis, analyze_experiment
from analyze.curves import seed_points
from analyze.measures import MEASURES, Measure
from analyze.measures.distances import distances
from analyze.measures.triangle import triangle
from analyze.measures.unavailable import Unavailable
from analyze.report.study import not_analyzed, unavailable
from analyze.settings import fingerprint
from configs.errors import UserError
from records.atomic import write_json
from records.sealed import read_sealed, write_sealed

STEPS = [0, 2, 5, 8]
LAST_CHECKPOINT_ONLY = {"reconstruction", "interpolation_map"}
DISABLED = {"fid"} | {measure.name for measure in MEASURES if measure.needs_network}


def test_a_failing_measure_is_reported_and_the_others_are_stored(trained, monkeypatch):
    def brightness(samples):
        raise ZeroDivisionError("no light")

    monkeypatch.setattr("analyze.analysis.MEASURES", [Measure(distances), Measure(brightness), Measure(triangle)])
    trained.analyze([8])
    assert trained.failures() == {8: "brightness failed: ZeroDivisionError: no light"} and 8 in trained.missing()
    assert trained.results(8).keys() == {"distances", "triangle"}
    monkeypatch.setattr("analyze.analysis.MEASURES", [Measure(distances), Measure(triangle)])
    trained.analyze([8])
    assert 8 not in trained.missing() and trained.failures() == {}


def test_a_measure_that_lacked_a_file_is_computed_when_it_exists(trained, monkeypatch, tmp_path):
    network = tmp_path / "network"

    def brightness(samples):
        if not network.exists():
            raise Unavailable("the network is missing")
        return {"mean": samples.mean().item()}

    measures = [Measure(brightness, requirements=lambda options, training: {"network": network.exists()})]
    monkeypatch.setattr("analyze.analysis.MEASURES", measures)
    trained.analyze([8])
    assert 8 not in trained.missing() and trained.results(8)["brightness"]["unavailable"] == "the network is missing"
    network.touch()
    assert 8 in trained.missing()
    trained.analyze([8])
    assert 8 not in trained.missing() and values(trained, 8).keys() == {"brightness"}


def test_a_measure_that_did_without_a_file_is_computed_again_when_it_exists(trained, monkeypatch, tmp_path):
    network = tmp_path / "network"

    def brightness(samples):
        return {"mean": samples.mean().item(), "exists": float(network.exists())}

    measures = [Measure(brightness, requirements=lambda options, training: {"network": network.exists()})]
    monkeypatch.setattr("analyze.analysis.MEASURES", measures)
    trained.analyze([8])
    assert 8 not in trained.missing() and values(trained, 8)["brightness"]["exists"] == 0
    network.touch()
    assert 8 in trained.missing()
    trained.analyze([8])
    network.unlink()
    assert 8 not in trained.missing() and values(trained, 8)["brightness"]["exists"] == 1


def test_a_measure_that_downloads_what_it_requires_is_not_computed_twice(trained, monkeypatch, tmp_path):
    network = tmp_path / "network"

    def brightness(samples):
        network.touch()
        return {"mean": samples.mean().item()}

    measures = [Measure(brightness, requirements=lambda options, training: {"network": network.exists()})]
    monkeypatch.setattr("analyze.analysis.MEASURES", measures)
    trained.analyze([8])
    assert 8 not in trained.missing()


def test_a_measure_that_has_everything_and_fails_is_not_tried_again(trained, monkeypatch):
    def brightness(samples):
        raise Unavailable("the images are too dark")

    monkeypatch.setattr("analyze.analysis.MEASURES", [Measure(brightness)])
    trained.analyze([8])
    assert 8 not in trained.missing() and values(trained, 8) == {}


def test_preliminary_comparisons_are_shown(complete):
    """As long as training continues, they compare with the last checkpoint so far."""
    last = complete.run.checkpoint(8)
    last.rename(last.with_name("hidden"))
    earlier = SeedAnalysis(complete.experiment, 0)
    assert earlier.last_step == 5 and 2 in earlier.missing()
    assert earlier.current_results(2)["cka"] == complete.results(2)["cka"]


def test_stale_and_disabled_measures_are_not_shown(complete):
    """They are kept, but belong to other options."""
    stored = complete.results(0)
    complete.options.measures.knn_k = 2
    complete.options.measures.dino_model = None
    assert complete.results(0) == stored
    assert stored.keys() - complete.current_results(0).keys() == {"knn_coverage", "dino"}
    assert not any(name.startswith("knn_coverage") for point in seed_points(complete) for name in point)
    sentence = "seed 0: some measures are missing or out of date: steps 0, 2, 5, 8"
    assert not_analyzed(complete.experiment) == [sentence] and unavailable([complete]) == []


@pytest.mark.parametrize("module", ["generations", "measures.brightness"])
def test_a_full_disk_ends_the_analysis_and_is_no_failure_of_a_checkpoint(module, trained, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def brightness(samples):
        full()

    if module == "generations":
        monkeypatch.setattr("analyze.generations.write_bytes", full)
    monkeypatch.setattr("analyze.analysis.MEASURES", [Measure(brightness)])
    with pytest.raises(OSError, match="No space left"):
        trained.analyze([8])
    assert trained.failures() == {}


def changed(analysis: SeedAnalysis, **options) -> SeedAnalysis:
    """Return the analysis of the same seed with other options of `analyze` or of its measures, such as knn_k=1."""
    measures = {key: value for key, value in options.items() if hasattr(analysis.options.measures, key)}
    others = {key: value for key, value in options.items() if key not in measures}
    analyze = dataclasses.replace(analysis.options, **others)
    analyze = dataclasses.replace(analyze, measures=dataclasses.replace(analyze.measures, **measures))
    return SeedAnalysis(dataclasses.replace(analysis.experiment, analyze=analyze), analysis.seed)


def values(analysis: SeedAnalysis, step: int) -> dict[str, dict[str, float]]:
    return {name: result["values"] for name, result in analysis.results(step).items() if "values" in result}


def generation_files(analysis: SeedAnalysis, step: int) -> list[Path]:
    """Return the files with the generations of a step."""
    folder = analysis.folder / "generations" / f"{step:09d}"
    return sorted(file for file in folder.rglob("*") if file.is_file())


def file_states(analysis: SeedAnalysis, step: int) -> list[tuple]:
    """Return modification time, inode and content of the files with the generations of a step."""
    files = generation_files(analysis, step)
    return [(file.stat().st_mtime_ns, file.stat().st_ino, file.read_bytes()) for file in files]


def test_every_measure_of_every_checkpoint_is_computed_and_stored(trained):
    assert trained.steps == STEPS and trained.missing() == STEPS[::-1]
    trained.analyze(trained.missing())
    stored = SeedAnalysis(trained.experiment, 0)
    assert stored.missing() == [] and stored.failures() == {}
    for step in STEPS:
        not_applicable = DISABLED if step == 8 else DISABLED | LAST_CHECKPOINT_ONLY
        assert stored.results(step).keys() == {measure.name for measure in MEASURES} - not_applicable
        assert "DINO" in stored.results(step)["dino"]["unavailable"]
        assert json.loads(trained.results_file(step).read_text())["versions"]["torch"] == torch.__version__
    assert values(stored, 8)["cka"]["biased"] == pytest.approx(1) and values(stored, 0)["cka"]["biased"] < 0.9999


def test_existing_results_are_not_recomputed(complete):
    before = {file: file.stat().st_mtime_ns for file in complete.folder.rglob("0*")}
    for step in STEPS:
        (complete.run.checkpoint(step) / "ema_0.99.safetensors").unlink()
    complete.analyze(STEPS)
    assert complete.failures() == {} and len(before) >= 2 * len(STEPS)
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_an_option_of_a_measure_makes_only_that_measure_stale(complete):
    before, files = values(complete, 2), {step: file_states(complete, step) for step in STEPS}
    other = changed(complete, knn_k=1)
    assert other.folder == complete.folder and other.missing() == STEPS[::-1]
    other.analyze(STEPS)
    assert other.missing() == [] and complete.missing() == STEPS[::-1]
    assert files == {step: file_states(complete, step) for step in STEPS} and all(files.values())
    after = values(other, 2)
    assert after.pop("knn_coverage") != before.pop("knn_coverage") and after == before


@pytest.mark.parametrize(
    "options",
    [{"ddim_steps": 5}, {"samples": 9}, {"clip_denoised": False}, {"weights": "model"}, {"noise_seed": 1}],
    ids=lambda options: next(iter(options)),
)
def test_options_that_change_the_generations_change_the_fingerprint(options, tiny):
    analysis = SeedAnalysis(tiny(), 0)
    assert fingerprint(changed(analysis, **options).options) != fingerprint(analysis.options)


def test_other_options_do_not_change_the_fingerprint(tiny):
    analysis = SeedAnalysis(tiny(), 0)
    for options in ({"pictures": 1}, {"batch_size": 3}, {"compile": True}, {"knn_k": 2}):
        assert fingerprint(changed(analysis, **options).options) == fingerprint(analysis.options)


def test_half_precision_is_recorded_in_a_separate_folder(trained):
    half = changed(trained, precision="bf16")
    half.analyze([STEPS[-1]])
    assert "-bf16-" in half.folder.name and "precision: bf16" in (half.folder / "analysis.yaml").read_text()
    fp32, bf16 = (analysis.generations(STEPS[-1])["samples"] for analysis in (trained, half))
    assert not torch.equal(fp32, bf16) and (fp32 - bf16).norm() < 0.02 * fp32.norm()


def test_results_do_not_depend_on_the_batch_size(complete):
    (complete.run.root / "analysis").rename(complete.run.root / "before")
    other = changed(complete, batch_size=3)
    other.analyze(STEPS)
    (complete.run.root / "analysis").rename(complete.run.root / "after")
    old_files, new_files = (sorted((complete.run.root / name).glob("*/0*.json")) for name in ("before", "after"))
    for files in zip(old_files, new_files, strict=True):
        old, new = (json.loads(file.read_text())["measures"] for file in files)
        for name in old:
            if name not in ("dino", "interpolation_map"):
                assert numbers(new[name]["values"]) == pytest.approx(
                    numbers(old[name]["values"]), rel=1e-5, abs=1e-5
                ), name


def numbers(values) -> list[float]:
    """Return all numbers in nested dictionaries and lists, in order."""
    if isinstance(values, dict):
        return numbers(list(values.values()))
    return [x for value in values for x in numbers(value)] if isinstance(values, list) else [values]


def test_a_new_last_checkpoint_makes_comparisons_with_the_last_checkpoint_stale(complete, with_checkpoints):
    before, files = values(complete, 2), file_states(complete, 2)
    longer = SeedAnalysis(with_checkpoints("seeds=[0]", "train.steps=12"), 0)
    assert longer.steps == [0, 2, 5, 12] and longer.missing() == [12, 5, 2, 0]
    longer.analyze(longer.missing())
    after = values(longer, 2)
    assert longer.missing() == [] and set(files) <= set(file_states(longer, 2))
    changed = {name for name in after if after[name] != before[name]}
    # SVCCA of this few images is always 1.
    assert changed | {"svcca"} == {"knn_coverage", "cka", "svcca", "ssim", "early_inverter"}


def test_a_failure_under_other_options_is_not_one_of_a_complete_analysis(complete):
    write_json(complete.failure_file(8), {"step": 8, "why": "the network cannot be used"})
    assert changed(complete, knn_k=2).failures() == {8: "the network cannot be used"}
    assert complete.failures() == {} and not_analyzed(complete.experiment) == []


def test_truncated_generations_are_regenerated(complete):
    files = generation_files(complete, 5)
    expected = values(complete, 5), [file.read_bytes() for file in files]
    for file in files:
        file.write_bytes(file.read_bytes()[:-100])
    complete.results_file(5).unlink()
    complete.analyze([5])
    assert (values(complete, 5), [file.read_bytes() for file in generation_files(complete, 5)]) == expected


@pytest.mark.parametrize("content", ["", "{", '{"step": 5}', "[]", '{"measures": 3}', "[" * 100_000, "\udcff"])
def test_invalid_results_files_are_recomputed(content, complete):
    expected = values(complete, 5)
    complete.results_file(5).write_bytes(content.encode(errors="surrogateescape"))
    assert complete.missing() == [5]
    complete.analyze([5])
    assert values(complete, 5) == expected


def test_invalid_result_of_one_measure_is_recomputed(complete):
    expected = values(complete, 5)
    content = read_sealed(complete.results_file(5))
    for damaged in (None, [], {}, {"values": 3}, {"unavailable": 3}):
        content["measures"]["distances"] = damaged
        write_sealed(complete.results_file(5), content)
        assert complete.missing() == [5] and "distances" not in complete.results(5)
    complete.analyze([5])
    assert values(complete, 5) == expected


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


def test_a_new_version_of_a_measure_makes_only_its_results_stale(complete, monkeypatch):
    before = values(complete, 5)
    monkeypatch.setattr("analyze.analysis.MEASURES", [Measure(distances, version=2), Measure(triangle)])
    assert complete.missing() == STEPS[::-1]
    complete.analyze([5])
    assert complete.results(5)["distances"]["version"] == 2 and "version" not in complete.results(5)["triangle"]
    assert values(complete, 5) == before
