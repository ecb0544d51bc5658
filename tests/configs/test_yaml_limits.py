"""Limits of YAML texts."""

import pytest

from configs.errors import UserError
from configs.load import load
from configs.yaml_limits import MAX_DEPTH, MAX_VALUES, check_limits


def laughs(levels: int) -> str:
    """Return a text in which each level refers nine times to the previous one."""
    lines = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(["a0: &a0 [x, x, x, x, x, x, x, x, x]", *lines])


@pytest.mark.parametrize("text", ["", "3", "a: &x [1, 2]\nb: *x\nc: *x", "[" * MAX_DEPTH + "]" * MAX_DEPTH, laughs(3)])
def test_ordinary_texts_are_accepted(text):
    check_limits(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laughs(12), "more than 100,000 values"),
        ("[" + "1," * MAX_VALUES + "]", "more than 100,000 values"),
        ("a: &a [*a]", r"\*a contains itself"),
        ("a: &a {b: {c: *a}}", r"\*a contains itself"),
        ("[" * 100_000, "nested more than 50 levels"),
        ("{a: " * 100_000, "nested more than 50 levels"),
        ("- " * 100_000, "nested more than 50 levels"),
        ("# " + "x" * 1_000_000, "1,000,002 characters"),
    ],
)
def test_texts_that_need_much_memory_are_rejected(text, message):
    with pytest.raises(ValueError, match=message):
        check_limits(text)


@pytest.mark.parametrize("text", [laughs(12), "a: &a [*a]", f"seed: {'9' * 5000}", "- " * 60])
def test_commands_reject_such_texts_in_one_sentence(text, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"study\.yaml: cannot be read as YAML: ") as error:
        load(file)
    assert "\n" not in str(error.value)


def test_commands_reject_such_values(tmp_path):
    file = tmp_path / "study.yaml"
    file.touch()
    with pytest.raises(UserError, match="command line: cannot be parsed: it is nested more than 50 levels deep"):
        load(file, [f"seeds={'[' * 100_000}"])
