"""Tests of the analysis of a pretrained model, from its file to the paper's tables."""

import csv
import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_pipelines import tiny_pipeline

from analyze import model
from analyze.generations import GENERATORS
from analyze.model import analyze_model, sweep
from analyze.report.model import collect, tables
from analyze.settings import fingerprint
from configs.errors import UserError
from configs.load import load_model_study
from configs.schema import Measures
from diffusion.levels import Level, NoiseLevels
from diffusion.randomness import fixed_noise
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.solver import final_state
from diffusion.solvers.spacing import StridedSpacing
from models.source import Source
from records import lock
from records.atomic import write_text
from records.layout import seed_folder
from records.tracking.runs import offline_runs

SMALL = [
    "analyze.precision=fp32",
    "sweep=[2]",
    "analyze.ddim_steps=4",
    "analyze.samples=6",
    "analyze.measures.knn_k=2",
    "analyze.pictures=3",
    "analyze.measures.inversion_checkpoints=none",
]


@pytest.fixture
def study(pipelines, tmp_path):
    """Return a function that returns a small study, by default of the reference latent-diffusion model."""

    def load(*overrides: str, source=pipelines / "ldm_vq"):
        return load_model_study(str(source), [*SMALL, f"runs={tmp_path}/runs", "wandb.mode=disabled", *overrides])

    return load


@pytest.fixture
def openai_file(pipelines, tmp_path):
    """Return a .pt file of improved-diffusion."""
    torch.save(load_file(pipelines / "trained32.safetensors"), tmp_path / "ema_0.99_000500.pt")
    return tmp_path / "ema_0.99_000500.pt"


@pytest.fixture
def batch_sizes(monkeypatch) -> list[int]:
    """Return a list that records the batch size of every network call."""
    sizes = []
    add_call_hook = model.add_call_hook

    def add_recording_hook(denoiser, hook):
        return add_call_hook(add_call_hook(denoiser, sizes.append), hook)

    monkeypatch.setattr(model, "add_call_hook", add_recording_hook)
    return sizes


def test_a_latent_diffusion_model_is_analyzed_and_reported(study, batch_sizes, capsys):
    """Every T starts from the same latent noise, pictures are decoded, and a second run computes nothing."""
    latent_study = study("analyze.published=ldm_celeba")
    source, analyses = analyze_model(latent_study)
    evaluations = 6 * (2 + 4) * 4  # samples, latents, reconstructions and a trajectory of 6 images
    assert sum(batch_sizes) == evaluations and [analysis.options.ddim_steps for analysis in analyses] == [2, 4]
    noise, generations = fixed_noise((3, 16, 16), 6, 0), analyses[1].generations(4)
    assert torch.equal(analyses[0].generations(2)["noise"], noise) and torch.equal(generations["noise"], noise)
    denoiser = source.load_denoiser(torch.device("cpu"))
    samples = final_state(Ddim(4, source.spacing).sample(denoiser, noise))
    torch.testing.assert_close(generations["samples"], samples, rtol=1e-4, atol=1e-4)
    images = generations.images[:]
    assert images.shape == (6, 3, 64, 64) and images.abs().max() <= 1

    collect(latent_study, source, analyses)
    report = model.experiment_folder(latent_study) / "report"
    output = capsys.readouterr().out
    assert "codes of 3 × 16 × 16" in output and str(report / "index.html") in output
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "Distances against the number T of DDIM steps" in page and "at T = 2, " in page
    names = {file.name for file in (report / "figures").iterdir()}
    assert {f"fig0{i}" for i in (1, 2, 3, 8, 9)} == {name[:5] for name in names} and len(names) == 10
    assert len(list((report / "tables").iterdir())) == 9
    with (report / "curves.csv").open(newline="", encoding="utf-8") as text:
        rows = [row for row in csv.DictReader(text) if row["name"] == "noise_latent"]
    expected = [
        str(analysis.results(T)["distances"]["values"]["noise_latent"])
        for analysis, T in zip(analyses, (2, 4), strict=True)
    ]
    assert [(row["seed"], row["step"], row["ddim_steps"]) for row in rows] == [("", "2", "2"), ("", "4", "4")]
    assert [row["value"] for row in rows] == expected

    batch_sizes.clear()
    page = (report / "index.html").read_bytes()
    collect(latent_study, *analyze_model(latent_study))
    assert batch_sizes == [] and (report / "index.html").read_bytes() == page


def test_images_between_noise_and_latent_are_decoded(study):
    latent_study = study("analyze.ddim_steps=2", "analyze.measures.inversion_checkpoints=last")
    _, (analysis,) = analyze_model(latent_study, only="self_interpolation")
    values, generations = analysis.results(2)["self_interpolation"]["values"], analysis.generations(2)
    assert values["to_data"] == [] and values["end"] > 0  # training images are not codes
    assert generations["self_interpolations"].shape == (7, 6, 3, 16, 16)
    assert generations.interpolation_images[:].shape == (7, 6, 3, 64, 64)
    torch.testing.assert_close(generations.interpolation_images[0], generations.images[:], rtol=0, atol=0.02)


def test_pictures_are_decoded_again_with_another_scaling_factor(study):
    """The codes are not generated again."""
    generations = [
        analysis.generations(analysis.last_step)
        for option in ("vae_scaling_factor=null", "vae_scaling_factor=2")
        for analysis in analyze_model(study(option))[1][-1:]
    ]
    assert generations[0].file("samples") == generations[1].file("samples")
    assert not torch.equal(generations[0].images[:], generations[1].images[:])


def test_tables_have_a_row_per_t_with_the_published_numbers(study):
    latent_study = study("analyze.published=ldm_celeba", "sweep=[10]")
    (triangle,) = (
        table for table in tables(latent_study, analyze_model(latent_study)[1]) if table.name == "table345_triangle"
    )
    assert [row.ddim_steps for row in triangle.rows] == [4, 10]
    assert [bool(row.published) for row in triangle.rows] == [False, True]  # the paper includes T = 10 but not T = 4


def test_an_interrupted_analysis_is_resumed(study, batch_sizes, monkeypatch):
    """Existing tensors of the interrupted T are reused."""

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(GENERATORS, "trajectory", interrupt)  # the last to be generated, in alphabetical order
        with pytest.raises(KeyboardInterrupt):
            analyze_model(study())
    assert sum(batch_sizes) == 6 * 2 * 3
    analyze_model(study())
    assert sum(batch_sizes) == 6 * (2 + 4) * 4


def test_an_unconditional_openai_model_is_clipped_and_has_no_labels(study, openai_file):
    openai_study = study("openai.schedule=cosine", "openai.steps=4000", source=openai_file)
    _, analyses = analyze_model(openai_study)
    assert analyses[0].options.clip_denoised and not analyses[0].has_decoder
    assert analyses[0].generations(2).images[:].abs().max() <= 1
    with pytest.raises(UserError, match=r"analyze.labels=\[3\]: there is no class 3; the model has no classes"):
        analyze_model(dataclasses.replace(openai_study, analyze=dataclasses.replace(openai_study.analyze, labels=[3])))


def test_a_class_conditional_checkpoint_uses_the_chosen_labels(study, with_checkpoints):
    folder = seed_folder(with_checkpoints("model.num_classes=4"), 0).checkpoint(8)
    source, analyses = analyze_model(study("analyze.weights=model", "analyze.labels=[3]", source=folder))
    denoiser, noise = source.load_denoiser(torch.device("cpu")), fixed_noise((1, 8, 8), 6, 0)
    expected = final_state(Ddim(4, clip=True).sample(denoiser, noise, torch.full((6,), 3)))
    torch.testing.assert_close(analyses[1].generations(4)["samples"], expected, rtol=1e-4, atol=1e-4)
    assert "labels:\n- 3" in (analyses[1].folder / "analysis.yaml").read_text()


def test_labels_change_the_fingerprint(study):
    options = study().analyze
    assert fingerprint(options) != fingerprint(dataclasses.replace(options, labels=[3]))


def test_the_default_sweep_is_the_papers_as_far_as_the_model_supports_it(study, unet32):
    default = study("sweep=[]", "analyze.ddim_steps=100")
    source = Source([], "", unet32.denoiser, lambda device: unet32.denoiser)
    assert sweep(default, source) == [10, 50, 100, 500, 1000, 4000]
    levels = NoiseLevels(unet32.denoiser.levels.alphas[::4], unet32.denoiser.levels.sigmas[::4])
    shorter = dataclasses.replace(unet32.denoiser, levels=levels)
    assert sweep(default, dataclasses.replace(source, denoiser=shorter)) == [10, 50, 100, 500, 1000]


def test_too_many_steps_are_rejected_before_anything_is_generated(study, tmp_path):
    with pytest.raises(UserError, match="T = 2,000 DDIM steps exceed the 1,000 diffusion steps of the model"):
        analyze_model(study("sweep=[2,2000]"))
    assert not list((tmp_path / "runs").rglob("*.safetensors"))


def test_another_model_under_the_same_name_is_rejected(study, openai_file):
    analyze_model(study("name=same"))
    with pytest.raises(
        UserError, match=r"same contains the analysis of another model \(LDMPipeline of diffusers; .*name="
    ):
        analyze_model(study("name=same", "openai.schedule=cosine", source=openai_file))


def test_the_folder_of_an_experiment_is_rejected(study):
    same = study("name=same")
    write_text(model.experiment_folder(same) / "seed_0" / "config.yaml", "")
    with pytest.raises(UserError, match=r"same is the folder of an experiment; choose a different name="):
        analyze_model(same)


def test_the_same_file_with_other_options_is_rejected(study, openai_file):
    analyze_model(study("openai.schedule=cosine", source=openai_file))
    with pytest.raises(UserError, match=r"another model \(OpenAI's U-Net; .*options: schedule=cosine; .*name="):
        analyze_model(study(source=openai_file))


def test_a_model_is_identified_by_its_digest_and_not_by_its_description(study):
    """Descriptions of older versions have other texts and no config."""
    analyze_model(study())
    file = model.experiment_folder(study()) / "model.json"
    recorded = json.loads(file.read_text()) | {"about": ["a pipeline"]}
    del recorded["config"]
    file.write_text(json.dumps(recorded))
    _, analyses = analyze_model(study())
    assert all(analysis.missing() == [] for analysis in analyses)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": "0", "about": 3}', '{"config": [1]}'])
def test_a_damaged_record_of_the_model_is_a_user_error(content, study):
    analyze_model(study())
    (model.experiment_folder(study()) / "model.json").write_text(content)
    with pytest.raises(UserError, match=r"model\.json is damaged; remove it if .* is the analyzed model"):
        analyze_model(study())


def test_a_second_process_is_rejected(study):
    with (
        lock.hold(model.experiment_folder(study()) / "lock", "analysis, process 1 on here", wait_s=0),
        pytest.raises(UserError, match="is in use by another analysis, process 1 on here"),
    ):
        analyze_model(study())


def test_a_failing_t_is_reported_after_the_others(study, monkeypatch, capsys):
    original = model.open_source(study())

    class Broken(StridedSpacing):
        def sampling(self, levels, steps):
            nan = Level(float("nan"), 0.0)
            intact = super().sampling(levels, steps)
            return [dataclasses.replace(step, end=nan) for step in intact] if steps == 2 else intact

    monkeypatch.setattr(model, "open_source", lambda _: dataclasses.replace(original, spacing=Broken()))
    source, analyses = analyze_model(study())
    with pytest.raises(UserError, match="T = 2: the model's outputs are not finite"):
        collect(study(), source, analyses)
    assert "Report:" in capsys.readouterr().out and analyses[1].results(4)


def test_measures_that_compare_checkpoints_are_omitted(study):
    _, analyses = analyze_model(study())
    measures = json.loads(analyses[0].results_file(2).read_text())["measures"]
    assert {"noise_mapping", "triangle", "distances", "correlation"} <= measures.keys()
    assert not {"cka", "dino", "knn_coverage", "early_inverter", "fid"} & measures.keys()
    assert Measures().dino_model  # enabled for experiments by default


def test_a_model_is_one_wandb_run_with_one_point_per_t(study):
    """A second analysis leaves the offline run unchanged, and another T replaces it."""
    offline = study("wandb.mode=offline")
    folder = model.experiment_folder(offline)
    collect(offline, *analyze_model(offline))
    (run,) = offline_runs(folder)
    points = [json.loads(line) for line in (folder / "wandb.jsonl").read_text().splitlines()]
    assert [point["step"] for point in points] == [2, 4] and "distances/noise_latent" in points[0]
    collect(offline, *analyze_model(offline))
    assert offline_runs(folder) == [run]
    more = study("wandb.mode=offline", "sweep=[2,3]")
    collect(more, *analyze_model(more))
    assert len(offline_runs(folder)) == 1 and offline_runs(folder) != [run]


def test_a_text_to_image_model_is_analyzed_with_its_prompts(study, tmp_path):
    """Prompts and guidance are recorded, shown under the pictures, and part of the model's identity."""
    tiny_pipeline("stable_diffusion").save_pretrained(tmp_path / "tiny")
    text_study = study("prompts=[a cat, two dogs]", "guidance=3", source=tmp_path / "tiny")
    source, analyses = analyze_model(text_study)
    assert source.denoiser.num_classes == 2 and analyses[0].conditions(3) == ["“a cat”", "“two dogs”"]
    collect(text_study, source, analyses)
    folder = model.experiment_folder(text_study)
    recorded = json.loads((folder / "model.json").read_text())["config"]
    assert recorded["prompts"] == ["a cat", "two dogs"] and recorded["guidance"] == 3
    assert "Conditions, in turn: “a cat”, “two dogs”." in (folder / "report" / "index.html").read_text()
    assert analyze_model(text_study)[1][0].missing() == []
    for other in ("prompts=[a cat]", "guidance=2"):
        with pytest.raises(UserError, match="contains the analysis of another model"):
            analyze_model(study("prompts=[a cat, two dogs]", "guidance=3", other, source=tmp_path / "tiny"))
