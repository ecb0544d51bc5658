"""Tests that the vocabulary check finds its words where prose is, and that the repository is clean."""

import subprocess
import sys

import pytest

from docs.vocabulary import PATTERNS, WORDS, findings

EXAMPLES = """
mend this; the run goes on; where it can be had; for want of memory; beside the GPU; whoever reads it; jobs are told;
hands all over; so many images; a folder of its own; it lies in a folder; puts back; where there is a GPU; as it is;
what they are; a way of analyzing; the same command again; likeness; a line a step; begin anew; analysed;
neighbourhood; normalisation
"""


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in PATTERNS], ids=WORDS)
def test_each_pattern_matches_an_example(pattern):
    assert any(pattern.search(example) for example in [*EXAMPLES.split(";"), "What resuming needs."])


def test_python_comments_and_strings_are_checked_but_names_are_not(tmp_path):
    file = tmp_path / "module.py"
    file.write_text('"""Title.\n\nIt goes\non."""\nmend = 1  # whoever\nf"{mend} beside"\n"analyse"\n')
    assert [line.removeprefix(f"{file}:").rpartition(" write")[0] for line in findings(file)] == [
        '5: "whoever":',
        '3: "goes on":',
        '6: "beside":',
    ]


def test_only_the_start_of_a_string_is_checked_for_a_question_word(tmp_path):
    file = tmp_path / "module.py"
    file.write_text('"""Explain what resuming needs."""\n"Which steps are saved"\n# What resuming needs\n')
    assert [line.partition(" write")[0] for line in findings(file)] == [f'{file}:2: "Which":']


def test_other_files_are_checked_whole(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Which one?\n\nThe standard case.\nfor want\nof time\n")
    assert list(findings(page)) == [f'{page}:4: "for want of": write "without, has no, missing"']


def test_the_repository_is_clean(repository):
    if not (repository / ".git").exists():
        pytest.skip("not a git checkout")
    check = [sys.executable, "-m", "docs.vocabulary"]
    result = subprocess.run(check, cwd=repository, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
