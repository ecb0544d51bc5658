"""Every command in the documentation works.

If the comment of a command states a requirement ("# needs a GPU"), only its configuration and options are checked. All
other commands run in a copy of the repository in which configs/digits.yaml takes seconds.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from configs.load import describes_experiment, load, load_model_study, to_yaml
from records.layout import seed_folder

REPOSITORY = Path(__file__).parent.parent.parent
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
SMALL = ["train.steps=100", "train.checkpoints.at=[0,50,100]", "train.log_every=50"]  # pages mention checkpoint 100
SUBSTITUTES = {r"make ": "make --dry-run ", r"wandb leet .*": "wandb leet --help", r"source .*": "true"}


@dataclass(frozen=True)
class Command:
    """A command line of a page and its comment."""

    line: str
    comment: str

    @property
    def has_requirement(self) -> bool:
        return re.search(r"\bneeds\b", self.comment) is not None

    @property
    def substitute(self) -> str:
        """The command that the test runs: a harmless one instead of `make`, `wandb leet` and `source`."""
        for pattern, substitute in SUBSTITUTES.items():
            if re.match(pattern, self.line):
                return re.sub(pattern, substitute, self.line)
        return self.line


def commands(page: Path) -> list[Command]:
    """Return the commands in a page's code blocks without a language, without lines that are only a comment."""
    blocks = re.findall(r"^```([^\n]*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    shell = [block.replace("\\\n", " ") for language, block in blocks if language in ("", "sh")]
    lines = [line.partition("#") for block in shell for line in block.splitlines()]
    return [Command(line.strip(), comment) for line, _, comment in lines if line.strip()]


@pytest.fixture
def folder(tmp_path, with_checkpoints) -> Path:
    """Return a copy of the repository with a small configs/digits.yaml, its checkpoints and a folder of photos."""
    for path in REPOSITORY.iterdir():
        if not path.name.startswith(".") and path.name not in ("configs", "runs", "data"):
            (tmp_path / path.name).symlink_to(path)
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs", ignore=shutil.ignore_patterns("__pycache__"))
    experiment = with_checkpoints(*SMALL)
    (tmp_path / "configs" / "digits.yaml").write_text(to_yaml(experiment), encoding="utf-8")
    for seed in experiment.seeds:  # pages train the demo, which without a state is only possible if it is not done
        seed_folder(experiment, seed).trained(experiment.train.steps).unlink()
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.new("RGB", (40, 36), (80 * i, 20, 90)).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path


def _write_titled_files(page: Path, folder: Path) -> None:
    """Write the files that a page shows in code blocks with a title, under their titles."""
    for name, content in re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', page.read_text(), re.DOTALL | re.MULTILINE):
        (folder / name).write_text(content, encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_page_work(page, folder, monkeypatch):
    _write_titled_files(page, folder)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "WANDB_MODE": "disabled",
    }
    monkeypatch.chdir(folder)
    for command in commands(page):
        if command.has_requirement:
            check_options(command.line)
            continue
        result = subprocess.run(
            ["bash", "-c", command.substitute],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert result.returncode == 0, f"{command.line}\n{result.stdout}\n{result.stderr}"


def check_options(line: str) -> None:
    """Raise UserError if a command names a configuration or an option that does not exist."""
    config, overrides = "", []
    for word in shlex.split(line):
        if word.endswith(".yaml"):
            config = word
        elif config and "=" in word and not word.startswith("-"):
            overrides.append(word)
    if config:
        load_config = load if describes_experiment(config) else load_model_study
        load_config(config, overrides)


def test_pages_contain_commands():
    assert sum(len(commands(page)) for page in PAGES) > 40


def test_requirement_is_read_from_comment(tmp_path):
    (tmp_path / "page.md").write_text(
        "```\nmake demo  # minutes\nmake cifar  # needs a GPU\n# nothing\n```\n```text\na\n```\n"
    )
    assert [(command.substitute, command.has_requirement) for command in commands(tmp_path / "page.md")] == [
        ("make --dry-run demo", False),
        ("make --dry-run cifar", True),
    ]
