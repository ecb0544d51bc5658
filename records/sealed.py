"""JSON files that contain a digest of their content, so that a changed digit is noticed, and numbers in them."""

import hashlib
import json
from pathlib import Path
from typing import Any

from records.atomic import read_json, write_json

DIGEST = "sha256"


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    stored = json.loads(json.dumps(content))  # as it will be read: keys are text, and sorted as such
    write_json(path, stored | {DIGEST: _digest(stored)})


def read_sealed(path: Path) -> Any:
    """Read a file of JSON without its digest; files of version 0.2 have none.

    Raises OSError if it cannot be opened, and ValueError if its content is damaged or was changed.
    """
    content = read_json(path)
    if isinstance(content, dict) and DIGEST in content and content.pop(DIGEST) != _digest(content):
        raise ValueError("its digest does not match its content")
    return content


def is_number(value: object) -> bool:
    """Return whether a stored value is a number that fits into 64 bits."""
    is_integer = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return is_integer or isinstance(value, float)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
