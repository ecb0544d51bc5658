"""A model that others trained, from its file to the paper's tables."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

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
from records.layout import seed_folder
from records.tracking.runs import offline_runs

SMALL = [
    "analyze.precision=fp32",
    "sweep=[2]",
    "analyze.ddim_steps=4",
    "analyze.samples=6",
    "analyze.measures.knn_k=2",
    "analyze.pictures=3",
]


@pytest.fixture
def study(pipelines, tmp_path):
    """A function: a small study of the latent-diffusion model that is among the references."""

    def asked(*overrides: str, source=pipelines / "ldm_vq"):
        return load_model_study(str(source), [*SMALL, f"runs={tmp_path}/runs", "wandb.mode=disabled", *overrides])

    return asked


@pytest.fixture
def trained(pipelines, tmp_path):
    torch.save(load_file(pipelines / "trained32.safetensors"), tmp_path / "ema_0.99_000500.pt")
    return tmp_path / "ema_0.99_000500.pt"


@pytest.fixture
def counted(monkeypatch):
    """How many images the network was asked about, a number a call."""
    calls = []
    original = model.add_call_hook
    monkeypatch.setattr(
        model, "add_call_hook", lambda denoiser, called: original(denoiser, lambda n: (calls.append(n), called(n)))
    )
    return calls


def test_a_latent_model_to_its_report(study, counted, capsys):
    """Every T from the same noise, in the space of codes; pictures decoded; run again, nothing is done again."""
    asked = study("analyze.published=ldm_celeba")
    source, analyses = analyze_model(asked)
    expected = 6 * (2 + 4) * 4  # samples, latents, reconstructions and a trajectory of 6 images
    assert sum(counted) == expected and [one.options.ddim_steps for one in analyses] == [2, 4]
    noise, here = fixed_noise((3, 16, 16), 6, 0), analyses[1].generations(4)
    assert torch.equal(analyses[0].generations(2)["noise"], noise) and torch.equal(here["noise"], noise)
    denoiser = source.load_denoiser(torch.device("cpu"))
    torch.testing.assert_close(
        here["samples"], final_state(Ddim(4, source.spacing).sample(denoiser, noise)), rtol=1e-4, atol=1e-4
    )
    assert here.images.shape == (6, 3, 64, 64) and here.images.abs().max() <= 1

    collect(asked, source, analyses)
    report = model.experiment_folder(asked) / "report"
    said = capsys.readouterr().out
    assert "codes of 3 × 16 × 16" in said and str(report / "index.html") in said
    names = {file.name for file in (report / "figures").iterdir()}
    assert {f"fig0{i}" for i in (1, 2, 3, 8, 9)} == {name[:5] for name in names} and len(names) == 10
    assert len(list((report / "tables").iterdir())) == 9

    counted.clear()
    page = (report / "index.html").read_bytes()
    collect(asked, *analyze_model(asked))
    assert counted == [] and (report / "index.html").read_bytes() == page


def test_tables_have_a_row_for_each_t_beside_the_published_one(study):
    asked = study("analyze.published=ldm_celeba", "sweep=[10]")
    made = {table.name: table for table in tables(asked, analyze_model(asked)[1])}
    assert [row.ddim_steps for row in made["table345_triangle"].rows] == [4, 10]
    published = [bool(row.published) for row in made["table345_triangle"].rows]
    assert published == [False, True]  # the paper has T = 10 and no T = 4


def test_what_was_interrupted_goes_on(study, counted, monkeypatch):
    """At the number of steps it had got to, and with what was made of that one."""
    asked = study()

    def stops(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setitem(GENERATORS, "trajectory", stops)  # the last in the alphabet, and so the last to be made
        with pytest.raises(KeyboardInterrupt):
            analyze_model(asked)
    assert sum(counted) == 6 * 2 * 3
    analyze_model(asked)
    assert sum(counted) == 6 * (2 + 4) * 4


def test_openai_files_are_clipped_and_take_no_labels_without_classes(study, trained):
    asked = study("openai.schedule=cosine", "openai.steps=4000", source=trained)
    _, analyses = analyze_model(asked)
    assert analyses[0].options.clip_denoised and not analyses[0].has_decoder
    assert analyses[0].generations(2).images.abs().max() <= 1
    with pytest.raises(UserError, match=r"analyze.labels=\[3\]: there is no class 3; the model has no classes"):
        analyze_model(dataclasses.replace(asked, analyze=dataclasses.replace(asked.analyze, labels=[3])))


def test_a_class_conditional_checkpoint_takes_the_labels_that_are_asked_for(study, with_checkpoints):
    folder = seed_folder(with_checkpoints("model.num_classes=4"), 0).checkpoint(8)
    asked = study("analyze.weights=model", "analyze.labels=[3]", source=folder)
    source, analyses = analyze_model(asked)
    denoiser, noise = source.load_denoiser(torch.device("cpu")), fixed_noise((1, 8, 8), 6, 0)
    expected = final_state(Ddim(4, clip=True).sample(denoiser, noise, torch.full((6,), 3)))
    torch.testing.assert_close(analyses[1].generations(4)["samples"], expected, rtol=1e-4, atol=1e-4)
    assert "labels:\n- 3" in (analyses[1].folder / "analysis.yaml").read_text()


def test_labels_are_part_of_what_is_analysed(study):
    options = study().analyze
    assert fingerprint(options) != fingerprint(dataclasses.replace(options, labels=[3]))


def test_the_papers_numbers_of_steps_that_the_model_has_are_swept(study, unet32, trained):
    asked = study("sweep=[]", "analyze.ddim_steps=100")
    source = Source([], "", unet32.denoiser, lambda device: unet32.denoiser)
    assert sweep(asked, source) == [10, 50, 100, 500, 1000, 4000]
    levels = NoiseLevels(unet32.denoiser.levels.alphas[::4], unet32.denoiser.levels.sigmas[::4])
    few = dataclasses.replace(unet32.denoiser, levels=levels)
    assert sweep(asked, dataclasses.replace(source, denoiser=few)) == [10, 50, 100, 500, 1000]


def test_more_steps_than_there_are_end_it_before_anything_is_made(study, tmp_path):
    with pytest.raises(UserError, match="T = 2,000 DDIM steps exceed the 1,000 diffusion steps of the model"):
        analyze_model(study("sweep=[2,2000]"))
    assert not list((tmp_path / "runs").rglob("*.safetensors"))


def test_another_model_under_the_same_name_is_refused(study, trained):
    analyze_model(study("name=one"))
    with pytest.raises(UserError, match=r"one contains the analysis of another model \(pipeline of diffusers; .*name="):
        analyze_model(study("name=one", "openai.schedule=cosine", source=trained))


def test_two_at_once_are_refused(study):
    asked = study()
    with (
        lock.hold(model.experiment_folder(asked) / "lock", "analysis, process 1 on here", wait_s=0),
        pytest.raises(UserError, match="is in use by another analysis, process 1 on here"),
    ):
        analyze_model(asked)


def test_a_t_that_fails_is_told_after_the_others(study, monkeypatch, capsys):
    asked = study()
    original = model.open_source(asked)

    class Broken(StridedSpacing):
        def sampling(self, levels, steps):
            nan = Level(float("nan"), 0.0)
            intact = super().sampling(levels, steps)
            return [dataclasses.replace(step, end=nan) for step in intact] if steps == 2 else intact

    monkeypatch.setattr(model, "open_source", lambda _: dataclasses.replace(original, spacing=Broken()))
    source, analyses = analyze_model(asked)
    with pytest.raises(UserError, match="T = 2: the model's outputs are not finite"):
        collect(asked, source, analyses)
    assert "Report:" in capsys.readouterr().out and analyses[1].results(4)


def test_what_compares_checkpoints_is_not_measured(study):
    _, analyses = analyze_model(study())
    found = json.loads(analyses[0].results_file(2).read_text())["measures"]
    assert {"noise_mapping", "triangle", "distances", "correlation"} <= found.keys()
    assert not {"cka", "dino", "knn_coverage", "early_inverter", "fid"} & found.keys()
    assert Measures().dino_model  # which is on, elsewhere


def test_a_model_is_one_wandb_run_with_a_point_for_each_t(study):
    """Offline; run again it is neither doubled nor changed, and with one T more it is written anew."""
    asked = study("wandb.mode=offline")
    folder = model.experiment_folder(asked)
    collect(asked, *analyze_model(asked))
    (run,) = offline_runs(folder)
    points = [json.loads(line) for line in (folder / "wandb.jsonl").read_text().splitlines()]
    assert [point["step"] for point in points] == [2, 4] and "distances/noise_latent" in points[0]
    collect(asked, *analyze_model(asked))
    assert offline_runs(folder) == [run]
    more = study("wandb.mode=offline", "sweep=[2,3]")
    collect(more, *analyze_model(more))
    assert len(offline_runs(folder)) == 1 and offline_runs(folder) != [run]
