"""Stored results of measures: which are valid, and which are up to date."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from records.sealed import read_sealed


def read_results(file: Path) -> dict[str, Any]:
    """Return the valid results in a file by measure; none if the file is missing or damaged."""
    try:
        stored = read_sealed(file)["measures"].items()
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
    return {measure: result for measure, result in stored if _is_result(result)}


def _is_result(result: Any) -> bool:
    """Return whether a stored result has values or a reason why it is unavailable."""
    if not isinstance(result, dict) or not isinstance(result.get("requirements", {}), dict):
        return False
    return isinstance(result.get("values"), dict) or isinstance(result.get("unavailable"), str)


def meets(result: dict[str, Any] | None, conditions: dict[str, Any]) -> bool:
    """Return whether there is a result with these conditions."""
    return result is not None and result | conditions == result


def is_fresh(
    result: dict[str, Any] | None, conditions: dict[str, Any], requirements: Callable[[], dict[str, bool]]
) -> bool:
    """Return whether the conditions of a result are unchanged, and no missing requirement has become present.

    If it is unavailable, all of its requirements must be unchanged.
    """
    if result is None or not meets(result, conditions):
        return False
    before = result.get("requirements", {})
    if "values" not in result:
        return requirements() == before
    return not any(requirements().get(name) for name, was_present in before.items() if not was_present)
