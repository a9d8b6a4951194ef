"""Values as digests, for tests that hold many of them to what they were."""

import json
from dataclasses import fields, is_dataclass
from hashlib import sha256
from typing import Any


def plain(value: Any) -> Any:
    """``value`` as JSON has it, whatever its classes are called."""
    if is_dataclass(value):
        return [plain(getattr(value, one.name)) for one in fields(value)]
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return round(value, 6)
    return value if value is None or isinstance(value, bool | int) else str(value)


def digest(value: Any) -> str:
    return sha256(json.dumps(plain(value)).encode()).hexdigest()[:8]
