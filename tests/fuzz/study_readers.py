"""Readers of a study: configurations, logs, records of W&B, prompts."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from fuzz.mutations import damaged_document, dumps
from fuzz.reader import Reader, Tree, by_name
from hypothesis import strategies as st

from analyze.analysis import SeedAnalysis
from analyze.report.study import training_curves
from configs.load import load, load_model_study
from configs.schema import Experiment
from models.source import read_prompts
from records.atomic import write_text
from records.layout import seed_folder
from records.tracking import publish
from records.tracking.points import last_step, read_points
from records.tracking.runs import RunSpec
from train.run_folder import check_config

CONFIGS = Path(__file__).parent.parent.parent / "configs"
TINY = [
    *("model.image_size=8", "model.model_channels=4", "model.channel_mult=[1]", "model.attention_resolutions=[]"),
    *("model.norm_groups=2", "model.num_heads=1", "diffusion.steps=20", "seeds=[0,1]", "train.steps=8"),
    *("train.checkpoints.at=[0,2]", "analyze.samples=8", "analyze.ddim_steps=4", "analyze.pictures=3"),
    *("analyze.measures.knn_k=3", "analyze.measures.mapping_images=4", "wandb.mode=offline"),
    *("analyze.measures.inverters=['naive (diffusers)']", "analyze.measures.inverter_nfe=[4]"),
    *("analyze.measures.inverter_images=4", "analyze.measures.contraction_images=2"),
    *("analyze.measures.step_error_images=4", "analyze.measures.forward_start_images=4"),
]


# --- configurations

LINES = [
    *("seeds: &a [1]\nseed: *a", "model: &a {x: *a}", "<<: {name: x}", "!!python/object/apply:os.mkdir [executed]"),
    *("name: !!binary aGk=", "seeds: 2026-99-99", "? [1, 2]\n: 3", "a: b: c", "\t- x", "%YAML 9.9", "---\na: 1", "..."),
    *("name: ${oc.env:HOME}", "name: ${name}", "seed: ${seeds[99]}", "train: ${train}", "runs: ${oc.decode:'[[['}"),
    *("seed: 0x" + "f" * 5000, "seed: " + "9" * 5000, "seed: .inf", "seed: 1:30:00", "model.image_size: 8"),
    *("'" + "a" * 100_000 + "': 1", "[" * 5_000, "{" * 5_000, "- " * 5_000, "name: \u202egnp\u2066", "name: a\0b"),
]


@st.composite
def damaged_yaml(draw: Callable, data: bytes) -> bytes:
    """Damage the document, or insert a line that YAML treats in a special way."""
    document = load_yaml(data)
    if draw(st.booleans()):
        return dumps(draw(damaged_document(document)))
    lines = data.decode().split("\n")
    lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(LINES)))
    return "\n".join(lines).encode()


def load_yaml(data: bytes) -> dict:
    import yaml

    return yaml.safe_load(data)


def hostile_yaml(tree: Tree, executed: Path) -> Iterator[Tree]:
    """Yield documents that grow when they are read, huge numbers, and values of wrong types for every option."""
    (name,) = tree
    laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
    )
    texts = [
        laughs,
        "a: &a [*a]",
        "a: &a {b: *a}",
        "[" * 100_000,
        "{a: " * 5_000,
        "- " * 100_000,
        "",
        "null",
        "[]",
        "3",
    ]
    yield from ({name: text.encode()} for text in [*texts, *LINES])
    document = load_yaml(tree[name])
    for path, _ in _leaves(document):
        for value in (
            None,
            -1,
            0,
            10**9,
            10**18,
            10**30,
            1e308,
            float("nan"),
            "x",
            "1" * 5_000,
            [],
            [[]],
            {},
            {"a": 1},
        ):
            yield {name: dumps(_with(document, path, value))}
    for key in ("diffusion.steps", "train.steps", "model.image_size", "model.num_res_blocks", "seeds", "cluster.nodes"):
        for value in (10**9, 10**18, [0] * 100_000):
            yield {name: dumps(_with(document, tuple(key.split(".")), value))}
    yield {name: dumps({**document, "train": {"steps": 10**9, "checkpoints": {"strides": [{"every": 1}]}}})}
    yield {name: dumps({**document, "train": {"steps": 10**9, "checkpoints": {"at": list(range(10**6))}}})}


def _leaves(document: dict, prefix: tuple = ()) -> Iterator[tuple[tuple, object]]:
    for key, value in document.items():
        yield (*prefix, key), value
        if isinstance(value, dict):
            yield from _leaves(value, (*prefix, key))


def _with(document: dict, path: tuple, value: object) -> dict:
    key, *rest = path
    inner = document.get(key)
    return document | {key: _with(inner if isinstance(inner, dict) else {}, tuple(rest), value) if rest else value}


def copy_config(name: str, folder: Path) -> None:
    (folder / "config.yaml").write_bytes((CONFIGS / name).read_bytes())


def read_profile(folder: Path) -> None:
    load(CONFIGS / "digits.yaml", [], cluster=str(folder / "config.yaml"))


OVERRIDES = ["seed=3", "model.channel_mult=[1,2]", "train.lr=1e-3", "cluster.additional_parameters={a: b}", "name=x"]


def read_overrides(folder: Path) -> None:
    file = folder / "overrides"
    lines = file.read_bytes().decode("utf-8", "surrogateescape").split("\n") if file.exists() else []
    load(CONFIGS / "digits.yaml", lines)


@st.composite
def damaged_overrides(draw: Callable, data: bytes) -> bytes:
    """Combine parts of keys and values, which include OmegaConf's and YAML's special characters."""
    parts = [
        ".",
        "=",
        "[",
        "]",
        "{",
        "}",
        "${",
        "}",
        ":",
        "'",
        '"',
        "\\",
        "train",
        "at",
        "seed",
        "1",
        "x",
        " ",
        "#",
        "*",
        "&a",
    ]
    lines = draw(st.lists(st.lists(st.sampled_from(parts), max_size=8).map("".join), min_size=1, max_size=3))
    return "\n".join(draw(st.permutations([*OVERRIDES[:2], *lines]))).encode()


def write_run_folder(folder: Path) -> None:
    experiment = tiny(folder)
    run = seed_folder(experiment, 0)
    from configs.load import to_yaml

    write_text(run.config, to_yaml(experiment))
    write_text(run.log, '{"step": 2, "loss": 1.0}\n')


def read_run_folder(folder: Path) -> None:
    check_config(seed_folder(tiny(folder), 0), tiny(folder))


def read_prompts_file(folder: Path) -> None:
    read_prompts(replace(load_model_study("x.pt"), prompts_file=str(folder / "prompts.txt")))


# --- logs


@functools.cache
def _tiny() -> Experiment:
    return load(CONFIGS / "digits.yaml", TINY)


def tiny(folder: Path) -> Experiment:
    return replace(_tiny(), runs=str(folder / "runs"))


def write_logs(folder: Path) -> None:
    run = seed_folder(tiny(folder), 0)
    steps = range(2, 12, 2)
    write_text(run.log, "".join(f'{{"step": {step}, "images": 8, "loss": {1 / step}, "lr": 1e-3}}\n' for step in steps))
    write_text(run.speed, "".join(f'{{"step": {step}, "images_per_s": 3.5}}\n' for step in steps))


def read_logs(folder: Path) -> None:
    from train.log import TrainingLog, _points

    experiment = replace(tiny(folder), seeds=[0], wandb=replace(_tiny().wandb, mode="disabled"))
    run = seed_folder(experiment, 0)
    last_step(run.log)
    read_points(run.log)
    _points(run)
    for curve in training_curves([SeedAnalysis(experiment, 0)]).values():
        curve.at(curve.steps[-1])
    TrainingLog(experiment, run, 6).replay()


def hostile_logs(tree: Tree, executed: Path) -> Iterator[Tree]:
    """Yield logs cut at every byte of a line, with and without the following lines."""
    (name, *_) = sorted(name for name in tree if name.endswith("train.jsonl"))
    log = tree[name]
    for end in range(0, 70):
        yield tree | {name: log[:end]}
        yield tree | {name: log[:end] + log[70:]}


# --- records of W&B and of models


def write_records(folder: Path) -> None:
    experiment = tiny(folder)
    spec = RunSpec(experiment, 0, "train", seed_folder(experiment, 0).root, experiment.name)
    write_text(spec.id_file, "digits-0-train-1f0c2b7a-18f")
    write_text(spec.folder / "wandb_published", "offline 1234")
    write_text(spec.folder / "wandb.jsonl", '{"step": 1}\n')


def read_records(folder: Path) -> None:
    experiment = tiny(folder)
    spec = RunSpec(experiment, 0, "train", seed_folder(experiment, 0).root, experiment.name)
    spec.server_id()
    spec.offline_runs()
    publish._is_published(spec, [{"step": 1}])


READERS = by_name(
    Reader(
        "experiment YAML",
        functools.partial(copy_config, "digits.yaml"),
        lambda folder: load(folder / "config.yaml"),
        examples=hostile_yaml,
        kinds={"yaml": damaged_yaml},
    ),
    Reader(
        "model study YAML",
        functools.partial(copy_config, "openai_cifar10.yaml"),
        lambda folder: load_model_study(str(folder / "config.yaml")),
        examples=hostile_yaml,
        kinds={"yaml": damaged_yaml},
    ),
    Reader(
        "cluster profile",
        functools.partial(copy_config, "cluster/slurm.yaml"),
        read_profile,
        examples=hostile_yaml,
        kinds={"yaml": damaged_yaml},
    ),
    Reader(
        "command line",
        lambda folder: (folder / "overrides").write_text("\n".join(OVERRIDES)),
        read_overrides,
        kinds={"overrides": damaged_overrides},
    ),
    Reader("run folder", write_run_folder, read_run_folder, kinds={"yaml": damaged_yaml}),
    Reader("training log", write_logs, read_logs, examples=hostile_logs),
    Reader("W&B records", write_records, read_records),
    Reader("prompts", lambda folder: (folder / "prompts.txt").write_text("a cat\na dog\n"), read_prompts_file),
)
