"""Every command that the documentation shows works as it is written there.

What needs more than this machine says so in its comment ("# needs a GPU"); its configuration and options are checked
all the same. All else is run in a folder like the repository, in which configs/digits.yaml is a study of seconds.
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

from configs.load import load, load_model_study, to_yaml

REPOSITORY = Path(__file__).parent.parent.parent
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])
SMALL = ["train.steps=100", "train.checkpoints.at=[0,50,100]", "train.log_every=50"]  # a checkpoint that pages name
INSTEAD = {r"make ": "make --dry-run ", r"wandb leet .*": "wandb leet --help", r"source .*": "true"}


@dataclass(frozen=True)
class Command:
    """A line of a page: what is run, and what its comment says."""

    line: str
    comment: str

    @property
    def needs_more(self) -> bool:
        return re.search(r"\bneeds\b", self.comment) is not None

    @property
    def runs(self) -> str:
        """What is run of it here: of `make`, of a terminal's program and of the shell's own, only that it is there."""
        return next(
            (re.sub(pattern, other, self.line) for pattern, other in INSTEAD.items() if re.match(pattern, self.line)),
            self.line,
        )


def commands(page: Path) -> list[Command]:
    """The lines of blocks without a language, without those that are only a comment."""
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line.partition("#") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [Command(line.strip(), comment) for line, _, comment in lines if line.strip()]


@pytest.fixture
def folder(tmp_path, as_if_trained) -> Path:
    """Like the repository, with a small configs/digits.yaml, as if trained, and a folder of photographs."""
    for each in REPOSITORY.iterdir():
        if not each.name.startswith(".") and each.name not in ("configs", "runs", "data"):
            (tmp_path / each.name).symlink_to(each)
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "configs" / "digits.yaml").write_text(to_yaml(as_if_trained(*SMALL)), encoding="utf-8")
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.new("RGB", (40, 36), (80 * i, 20, 90)).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path


def _write_titled_files(page: Path, folder: Path) -> None:
    """The files that a page shows whole, under the names that it gives them."""
    for name, content in re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', page.read_text(), re.DOTALL | re.MULTILINE):
        (folder / name).write_text(content, encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_work(page, folder, monkeypatch):
    _write_titled_files(page, folder)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "WANDB_MODE": "disabled",
    }
    monkeypatch.chdir(folder)
    for command in commands(page):
        if command.needs_more:
            check_options(command.line)
            continue
        ran = subprocess.run(
            ["bash", "-c", command.runs], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert ran.returncode == 0, f"{command.line}\n{ran.stdout}\n{ran.stderr}"


def check_options(line: str) -> None:
    """Raises UserError where a command that is not run here names a configuration or options that there are not."""
    config, overrides, read = "", [], load_model_study if "analyze model" in line else load
    for word in shlex.split(line):
        if word.endswith(".yaml"):
            config = word
        elif config and "=" in word and not word.startswith("-"):
            overrides.append(word)
    if config:
        read(config, overrides)


def test_commands_are_found():
    assert sum(len(commands(page)) for page in PAGES) > 40


def test_what_a_command_needs_is_read_from_its_comment(tmp_path):
    (tmp_path / "page.md").write_text(
        "```\nmake demo  # minutes\nmake cifar  # needs a GPU\n# nothing\n```\n```text\na\n```\n"
    )
    assert [(one.runs, one.needs_more) for one in commands(tmp_path / "page.md")] == [
        ("make --dry-run demo", False),
        ("make --dry-run cifar", True),
    ]
