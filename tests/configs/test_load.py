"""Loading of experiments from YAML and the command line, and the messages for users."""

import operator
import os
import re
import subprocess
import sys

import pytest

from configs.command import experiment_command, option_lines
from configs.errors import UserError
from configs.load import OTHER_NAMES, differences, load, load_model_study, load_resolved, options, to_yaml
from configs.schema import Experiment, Stride


@pytest.fixture
def file(tmp_path):
    """Return a function that writes a YAML file and returns its path."""

    def write(content: str | bytes):
        path = tmp_path / "study.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.mark.parametrize(
    ("overrides", "ddim_steps"),
    [(["sweep=[5,20,10]"], 20), (["sweep=[5,20,10]", "analyze.ddim_steps=10"], 10), ([], 100)],
)
def test_ddim_steps_of_a_study_default_to_the_largest_t_of_its_sweep(overrides, ddim_steps):
    assert load_model_study("google/ddpm-cifar10-32", overrides).analyze.ddim_steps == ddim_steps


def test_study_of_a_checkpoint_folder_is_named_after_its_experiment():
    assert load_model_study("runs/mine/seed_10/checkpoints/000000060").name == "mine_seed_10_000000060"
    assert load_model_study("/seed_10/checkpoints/000000060").name == "__seed_10_000000060"


def test_command_line_overrides_yaml_overrides_defaults(file):
    experiment = load(file("train: {steps: 10, lr: 2e-3}\nanalyze: {samples: 100}"), ["train.steps=20", "seed=3"])
    assert experiment.train.steps == 20 and experiment.seed == 3
    assert experiment.train.lr == 2e-3 and experiment.analyze.samples == 100
    assert experiment.train.batch_size == Experiment(name="").train.batch_size == 128


def test_name_defaults_to_the_file_name(file):
    assert load(file("")).name == "study"
    assert load(file("name: other")).name == "other"
    assert load(file("name: other"), ["name=third"]).name == "third"


def test_lists_are_replaced_not_extended(file):
    experiment = load(file("seeds: [1, 2]\ntrain: {checkpoints: {strides: [{every: 7}]}}"), ["seeds=[5]"])
    assert experiment.seeds == [5] and experiment.train.checkpoints.strides == [Stride(7)]


def test_missing_space_after_a_colon_is_reported(file):
    with pytest.raises(UserError, match=r"every:7.* YAML requires a space after the colon"):
        load(file("seeds: [1]"), ["train.checkpoints.strides=[{every:7}]"])


def test_every_configuration_of_the_project_loads(repository):
    paths = sorted((repository / "configs").glob("*.yaml"))
    studies = [path for path in paths if path.read_text(encoding="utf-8").count("\nsource:")]
    assert studies and all(load_model_study(str(path)).name == path.stem for path in studies)
    assert all(load(path).name == path.stem for path in paths if path not in studies)


def test_model_study_is_rejected_as_an_experiment(repository):
    with pytest.raises(UserError, match="describes a pretrained model; analyze it with  python -m analyze model"):
        load(repository / "configs" / "openai_cifar10.yaml")


@pytest.mark.parametrize(
    "source, name", [("google/ddpm-cifar10-32", "ddpm-cifar10-32"), ("some where/ema 0.99", "ema_0.99")]
)
def test_study_of_a_model_without_yaml_is_named_after_the_model(source, name):
    study = load_model_study(source, ["analyze.samples=8"])
    assert study.name == name and study.source == source and study.analyze.samples == 8


@pytest.mark.parametrize(
    "override, message",
    [
        ("sweep=[10,10]", "contains duplicates"),
        ("sweep=[1]", "too small"),
        ("vae_scaling_factor=0", "vae_scaling_factor=0"),
        ("train.steps=5", 'unknown key "train.steps"'),
        ("openai.schedule=quadratic", "cosine | linear"),
    ],
)
def test_impossible_model_study_is_rejected(override, message):
    with pytest.raises(UserError, match=re.escape(message)):
        load_model_study("google/ddpm-cifar10-32", [override])


def test_experiment_is_rejected_as_a_model_study(repository):
    with pytest.raises(UserError, match="describes an experiment; analyze it with  python -m analyze"):
        load_model_study(str(repository / "configs" / "digits.yaml"))


@pytest.mark.parametrize(
    "content, nearest", [("train: {stepz: 5}", "train.steps"), ("steps: 5", "train.steps"), ("sede: 5", "seed")]
)
def test_unknown_key_in_the_file_suggests_the_nearest(content, nearest, file):
    with pytest.raises(UserError, match=rf'study.yaml: unknown key ".*"; did you mean "{nearest}"\?'):
        load(file(content))


@pytest.mark.parametrize(
    "override, nearest",
    [
        ("train.stepz=5", "train.steps"),
        ("lr=1", "train.lr"),
        ("modl.dropout=0", "model.dropout"),
        ("model.num_channels=128", "model.model_channels"),
        ("num_channels=128", "model.model_channels"),
        ("train.save_interval=10000", "train.checkpoints"),
    ],
)
def test_unknown_key_on_the_command_line_suggests_the_nearest(override, nearest, file):
    with pytest.raises(UserError, match=rf'command line: unknown key ".*"; did you mean "{nearest}"\?'):
        load(file(""), [override])


def test_names_of_improved_diffusion_refer_to_existing_options():
    keys = [key for key, _ in options()]
    for name, key in OTHER_NAMES.items():
        assert any(each == key or each.startswith(f"{key}.") for each in keys), name
        assert name not in {each.rpartition(".")[2] for each in keys}


def test_unknown_key_without_similar_key_refers_to_help(file):
    with pytest.raises(UserError, match='unknown key "qqqqqqqq"; see --help'):
        load(file(""), ["qqqqqqqq=1"])


OLD_NAMES = [
    ("train.accumulate", "train.gradient_accumulation_steps", 4),
    ("train.gradient_clip", "train.max_grad_norm", 0.5),
    ("latent_scale", "vae_scaling_factor", 0.18215),
]


def load_any(source: str, *overrides: str):
    """Return the experiment or, if the last override sets one of its options, the model study."""
    is_study = overrides[-1].startswith(("latent", "vae"))
    return load_model_study(source, overrides) if is_study else load(source, overrides)


@pytest.mark.parametrize("old, new, value", OLD_NAMES)
def test_old_option_name_on_the_command_line_works_with_a_warning(old, new, value, file, capsys):
    loaded = load_any(str(file("source: x" if "." not in old else "")), f"{old}={value}")
    assert operator.attrgetter(new)(loaded) == value
    warning = f"warning: {old} is now {new}; the old name will be removed in version 0.3\n"
    assert capsys.readouterr().err == warning


@pytest.mark.parametrize("old, new, value", OLD_NAMES)
def test_new_option_name_gives_no_warning(old, new, value, file, capsys):
    loaded = load_any(str(file("source: x" if "." not in old else "")), f"{new}={value}")
    assert operator.attrgetter(new)(loaded) == value and not capsys.readouterr().err


@pytest.mark.parametrize("old, new, value", OLD_NAMES)
def test_old_and_new_option_name_together_are_refused(old, new, value, file):
    with pytest.raises(UserError, match=f"command line: {old} is now {new}; set only {new}"):
        load_any(str(file("source: x" if "." not in old else "")), f"{new}={value}", f"{old}={value}")


def test_old_option_name_in_the_file_is_overridden_by_the_new_one_on_the_command_line(file, capsys):
    path = file("train:\n  accumulate: 2\n  gradient_clip: 1.0\n  lr: 0.5")
    experiment = load(path, ["train.gradient_accumulation_steps=8"])
    assert experiment.train.gradient_accumulation_steps == 8
    assert experiment.train.max_grad_norm == 1.0 and experiment.train.lr == 0.5
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_old_option_names_in_the_config_of_a_run_folder_load_silently(file, capsys):
    new = to_yaml(load(file(""), ["train.max_grad_norm=0.5", "train.gradient_accumulation_steps=2"]))
    old = new.replace("max_grad_norm", "gradient_clip").replace("gradient_accumulation_steps", "accumulate")
    assert old != new
    assert load_resolved(file(old)) == load_resolved(file(new)) and not capsys.readouterr().err


def test_old_option_name_of_a_model_study_is_unknown_in_an_experiment(file, capsys):
    with pytest.raises(UserError, match='unknown key "latent_scale"'):
        load(file(""), ["latent_scale=1"])
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "override, message",
    [
        ("train.accumulate=many", r"command line: train\.gradient_accumulation_steps"),
        ("train.accumulate=${nope}", "command line: .*nope"),
        ("train=${nope}", "command line: .*nope"),
    ],
)
def test_invalid_value_under_an_old_option_name_is_reported(override, message, file):
    with pytest.raises(UserError, match=message):
        load(file(""), [override])


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("train.steps=many", ["train.steps", "many", "expected int"]),
        ("train.steps=1.5", ["train.steps", "1.5", "expected int"]),
        ("train.steps=", ["train.steps", "expected int"]),
        ("train.steps=true", ["train.steps", "expected int"]),
        ("train.lr=fast", ["train.lr", "fast", "expected float"]),
        ("seeds=5", ["seeds", "expected list of int"]),
        ("seeds=[a]", ["seeds", "'a'"]),
        ("train.checkpoints.at={}", ["train.checkpoints.at", "expected list of int"]),
        ("diffusion.schedule=cubic", ["diffusion.schedule", "cubic", "cosine | linear"]),
        ("train=5", ["train", "5"]),
        ("model=null", ["model"]),
        ("train.steps.x=4", ["train.steps", "expected int"]),
        ("train.checkpoints.strides=[{every: 5, untill: 9}]", ["untill", "until"]),
    ],
)
def test_wrong_type_is_reported_with_option_value_and_allowed_values(override, names, file):
    with pytest.raises(UserError) as error:
        load(file(""), [override])
    assert not [name for name in ["command line", *names] if name not in str(error.value)]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("override", ["train.steps", "train.steps=[", "=5", "train.steps=${nope}"])
def test_malformed_override_is_rejected_in_one_sentence(override, file):
    with pytest.raises(UserError) as error:
        load(file(""), [override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        "a: [",
        "\t a: 5",
        "a: b: c",
        "- 1",
        "5",
        b"\xff\xfe",
        "seed: 1\nseed: 2",
        "seed: !!python/object:os.system {}",
        "train: {steps: '${oc.env:NOT_SET_ANYWHERE}'}",
        "name: '${nope}'",
    ],
)
def test_file_that_is_not_plain_yaml_is_rejected_in_one_sentence(content, file):
    path = file(content)
    with pytest.raises(UserError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_missing_file_is_reported_with_the_available_files(file):
    existing = file("")
    with pytest.raises(UserError, match=f"nothing.yaml: no such file; available: {existing}"):
        load(existing.with_name("nothing.yaml"))
    with pytest.raises(UserError, match="elsewhere/ contains no YAML files"):
        load(existing.parent / "elsewhere" / "nothing.yaml")


def test_folder_instead_of_a_file_is_rejected(tmp_path):
    with pytest.raises(UserError, match="is a folder, not the YAML file"):
        load(tmp_path)


def test_resolved_configuration_round_trips(file):
    overrides = [
        "train.checkpoints.strides=[{every: 5, until: 20}, {every: 9}]",
        "model.num_classes=10",
        "train.lr=3e-4",
    ]
    experiment = load(file("seeds: [1, 2]\ndiffusion: {schedule: linear}\nwandb: {entity: me}"), overrides)
    assert load_resolved(file(to_yaml(experiment))) == experiment


def test_resolved_configuration_is_checked(file):
    with pytest.raises(UserError, match=r'unknown key "train\.stepz"'):
        load_resolved(file("name: x\ntrain: {stepz: 5}"))


@pytest.mark.parametrize("key, field", [pytest.param(key, field, id=key) for key, field in options()])
def test_every_option_has_a_meaning_and_is_listed(key, field):
    assert len(field.metadata["meaning"]) > 3
    listed = "\n".join(option_lines()).split(f"\n  {key} (")
    assert len(listed) == 2
    assert listed[1].split("\n")[1].strip() == field.metadata["meaning"]


def test_differences_contain_options_that_a_started_run_may_not_change(file):
    original = load(file("name: x"))
    options = ["model.num_classes=10", "model.dropout=0.1", "train.checkpoints.at=[0]", "diffusion.schedule=linear"]
    current = load(file("name: x"), options)
    assert differences(original, current) == [
        "model.dropout: 0.0, now 0.1",
        "model.num_classes: null, now 10",
        "diffusion.schedule: cosine, now linear",
        "train.checkpoints.at: [0, 5, 10, 25], now [0]",
    ]


def test_differences_ignore_options_that_a_started_run_may_change(file):
    overrides = [
        "train.steps=90000",
        "runs=elsewhere",
        "seeds=[7]",
        "analyze.measures.knn_k=3",
        "wandb.project=p",
        "data.root=d",
    ]
    original, current = load(file("name: x")), load(file("name: x"), overrides)
    assert current != original and differences(original, current) == []


def test_dry_run_prints_a_loadable_configuration(file, capsys):
    with pytest.raises(SystemExit) as end:
        experiment_command("test", "", [str(file("seed: 4")), "train.steps=77", "--dry-run"])
    assert not end.value.code
    resolved = load_resolved(file(capsys.readouterr().out))
    assert (resolved.seed, resolved.train.steps, resolved.name) == (4, 77, "study")


def test_misspelled_option_ends_the_command_with_one_line_and_writes_no_files(tmp_path, repository):
    process = subprocess.run(
        [sys.executable, "-m", "train", repository / "configs" / "digits.yaml", "train.stepz=5"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
    )
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == 'error: command line: unknown key "train.stepz"; did you mean "train.steps"?\n'
    assert not list(tmp_path.iterdir())
