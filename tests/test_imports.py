"""One-way imports: configs ← records ← models ← train, analyze ← launch, and diffusion ← models."""

import ast

import pytest

MAY_IMPORT = {
    "configs": set(),
    "records": {"configs"},
    "diffusion": {"configs"},
    "models": {"configs", "records", "diffusion"},
    "train": {"configs", "records", "diffusion", "models"},
    "analyze": {"configs", "records", "diffusion", "models"},
    "launch": {"configs", "records", "diffusion", "models", "train", "analyze"},
}
ROOMS = MAY_IMPORT.keys() | {"tests", "benchmarks"}


def imported_rooms(source: str) -> set[str]:
    """The rooms that a source file imports anywhere, also inside functions. Relative imports are none of ours."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names.add(node.module)
    return {name.partition(".")[0] for name in names} & ROOMS


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_those_before_it(room, repository):
    files = sorted((repository / room).rglob("*.py"))
    wrong = {
        str(file.relative_to(repository)): imported_rooms(file.read_text()) - MAY_IMPORT[room] - {room}
        for file in files
    }
    assert files and not {file: rooms for file, rooms in wrong.items() if rooms}


def test_nothing_imports_tests(repository):
    files = [*repository.glob("*.py"), *(file for room in ROOMS for file in (repository / room).rglob("*.py"))]
    assert not [str(file) for file in files if "tests" in imported_rooms(file.read_text())]


def test_imports_are_seen_wherever_they_stand():
    source = (
        "import train.data as d, numpy\ndef f():\n    from analyze.measures import knn\n    from diffusion import ddim"
    )
    assert imported_rooms(source) == {"train", "analyze", "diffusion"}
    with pytest.raises(AssertionError, match="relative"):
        imported_rooms("from . import schema")
