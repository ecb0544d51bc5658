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
PACKAGES = MAY_IMPORT.keys() | {"tests", "benchmarks"}


def imported_packages(source: str) -> set[str]:
    """Return the packages that a source file imports, at module level or inside functions; fail on relative imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names.add(node.module)
    return {name.partition(".")[0] for name in names} & PACKAGES


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_allowed_packages(package, repository):
    files = sorted((repository / package).rglob("*.py"))
    forbidden = {
        str(file.relative_to(repository)): imported_packages(file.read_text()) - MAY_IMPORT[package] - {package}
        for file in files
    }
    assert files and not {file: packages for file, packages in forbidden.items() if packages}


def test_nothing_imports_tests(repository):
    files = [*repository.glob("*.py"), *(file for package in PACKAGES for file in (repository / package).rglob("*.py"))]
    assert not [str(file) for file in files if "tests" in imported_packages(file.read_text())]


def test_imports_inside_functions_are_detected():
    source = (
        "import train.data as d, numpy\ndef f():\n    from analyze.measures import knn\n    from diffusion import ddim"
    )
    assert imported_packages(source) == {"train", "analyze", "diffusion"}
    with pytest.raises(AssertionError, match="relative"):
        imported_packages("from . import schema")


def test_computation_does_not_import_presentation(repository):
    """`analyze` computes and `analyze.report` presents; only the commands import both."""
    files = [file for file in (repository / "analyze").rglob("*.py") if file.parts[-2] != "commands"]
    computation = [file for file in files if "report" not in file.relative_to(repository).parts]
    assert computation and not [str(file) for file in computation if "analyze.report" in file.read_text()]
