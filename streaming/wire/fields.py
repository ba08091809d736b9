"""Takes typed fields out of one decoded message, saying what is wrong in a sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from facodec.identity import LONGEST_IDENTITY, ModelIdentity
from facodec.names import LONGEST_NAME, RULE, composed, is_name

T = TypeVar("T")


class FieldError(ValueError):
    """A field is missing, of the wrong type or out of range."""


class FieldReader:
    """The fields of one message of type ``kind``. nil counts as missing."""

    def __init__(self, kind: str, values: Mapping[str, Any]) -> None:
        self._kind = kind
        self._values = values

    def optional(self, read: Callable[..., T], name: str, *limits: Any) -> T | None:
        """``read(name, *limits)``, or None where the field is missing."""
        return None if self._values.get(name) is None else read(name, *limits)

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        value = self._get(name, default)
        if type(value) is not int or not low <= value <= high:
            raise self._wrong(name, f"an integer from {low} to {high}", value)
        return value

    def number(self, name: str, default: float | None = None) -> float:
        value = self._get(name, default)
        if type(value) not in (int, float) or not math.isfinite(value):
            raise self._wrong(name, "a finite number", value)
        return float(value)

    def truth(self, name: str) -> bool:
        value = self._get(name, None)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def between(self, name: str, low: float, high: float) -> float:
        value = self.number(name)
        if not low <= value <= high:
            raise self._wrong(name, f"a number from {low:g} to {high:g}", value)
        return value

    def text(self, name: str, longest: int) -> str:
        value = self._get(name, None)
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise self._wrong(name, f"a string of 1 to {longest} characters", value)
        return value

    def name(self, name: str) -> str:
        """A name of a voice or a room, in its composed spelling."""
        value = self._get(name, None)
        if not isinstance(value, str) or len(value) > 4 * LONGEST_NAME or not is_name(value):
            raise self._wrong(name, RULE, value)
        return composed(value)

    def identity(self, name: str) -> str:
        """The identity of a model, as it is written."""
        try:
            return str(ModelIdentity.parse(self.text(name, LONGEST_IDENTITY)))
        except FieldError:
            raise
        except ValueError as error:
            raise FieldError(f"{self._kind}: field {name!r}: {error}") from None

    def choice(self, name: str, choices: Sequence[str]) -> str:
        value = self._get(name, None)
        if not isinstance(value, str) or value not in choices:
            raise self._wrong(name, f"one of {', '.join(choices)}", value)
        return value

    def data(self, name: str) -> bytes:
        value = self._get(name, None)
        if not isinstance(value, bytes):
            raise self._wrong(name, "binary data", value)
        return value

    def name_or_data(self, name: str, size: int) -> str | bytes:
        value = self._get(name, None)
        if isinstance(value, str):
            return self.name(name)
        if not isinstance(value, bytes):
            raise self._wrong(name, f"a name or {size} bytes of binary data", value)
        return value

    def record(self, name: str) -> FieldReader:
        value = self._get(name, None)
        if not isinstance(value, dict):
            raise self._wrong(name, "a map", value)
        return FieldReader(f"{self._kind}.{name}", value)

    def _get(self, name: str, default: Any) -> Any:
        value = self._values.get(name)
        if value is not None:
            return value
        if default is None:
            raise FieldError(f"{self._kind}: field {name!r} is missing")
        return default

    def _wrong(self, name: str, wanted: str, value: object) -> FieldError:
        return FieldError(f"{self._kind}: field {name!r}: expected {wanted}, got {_short(value)}")


def _short(value: object) -> str:
    """A value in a sentence: never more than a few words, whatever a client sent."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = repr(value) if isinstance(value, (int, float, str)) else type(value).__name__
    return text if len(text) <= 40 else text[:37] + "..."
