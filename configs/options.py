"""Declaration of options: dataclass fields with a meaning, a unit and a range."""

from dataclasses import field
from typing import Any


def option(
    default: Any,
    meaning: str,
    *,
    unit: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    may_change: bool = False,
    added: bool = False,
) -> Any:
    """Return a dataclass field with a meaning and a range; `may_change` allows a started run to change it.

    `added` marks an option that older checkpoints do not contain. Its default must keep describing those checkpoints.
    """
    metadata = {
        "meaning": meaning,
        "unit": unit,
        "at_least": at_least,
        "at_most": at_most,
        "may_change": may_change,
        "added": added,
    }
    if isinstance(default, (list, dict)):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def section(kind: type, meaning: str, *, may_change: bool = False) -> Any:
    return field(default_factory=kind, metadata={"meaning": meaning, "may_change": may_change})
