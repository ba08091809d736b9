"""Identity of the model that codes and timbres belong to: its type, and arrays that carry it.

Another model's codes and timbres have the right shape and no meaning, so they are refused wherever
they are handed over: in calls, files, voice profiles and on the wire. No torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = TypeVar("Array", bound=NDArray[Any])

DIGITS = 12
"""Hexadecimal digits of a hash of weights."""
LONGEST_IDENTITY = 64 + 1 + DIGITS
_FORM = re.compile(rf"([A-Za-z0-9][A-Za-z0-9._-]{{0,63}})(?:@([0-9a-f]{{{DIGITS}}}))?")
AGAIN = "enrol the voice again with this model, or choose the model it was made with (--model)"
"""Advice where a voice is another model's."""


class ModelMismatch(ValueError):
    """Codes or a timbre belong to another model; the text names both models and what to do."""


@dataclass(frozen=True)
class ModelIdentity:
    """Name of a model and a hash of the weights that give codes and timbres their meaning, written
    ``live@3f9a1c5b7d20``.

    Weights that only turn codes into sound are not part of it: a decoder that was trained on keeps
    the identity. ``weights`` is "" where only the name is known, as in older files.
    """

    name: str
    weights: str = ""

    @classmethod
    def parse(cls, text: object) -> ModelIdentity:
        """Inverse of ``str``. Raises ValueError."""
        found = _FORM.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ValueError(f"expected a model like live@{'0' * DIGITS}, got {str(text)[:80]!r}")
        return cls(found[1], found[2] or "")

    def __str__(self) -> str:
        return f"{self.name}@{self.weights}" if self.weights else self.name

    def fits(self, other: ModelIdentity) -> bool:
        """Whether both may be one model: unknown weights are taken to be the same."""
        alike = self.weights == other.weights or not (self.weights and other.weights)
        return self.name == other.name and alike


def need_model(
    what: str, theirs: ModelIdentity | None, ours: ModelIdentity, advice: str = AGAIN
) -> None:
    """Raises ModelMismatch where ``theirs`` is known and does not fit ``ours``. ``what``: the
    subject of its sentence with its verb, "the voice was"."""
    if theirs is not None and not theirs.fits(ours):
        raise ModelMismatch(f"{what} made with model {theirs}, but {ours} is used here: {advice}")


class ModelArray(np.ndarray[Any, Any]):
    """Codes or a timbre with the model they belong to: an array like any other, whose slices,
    copies and results of arithmetic keep ``model``, None where it is not known."""

    model: ModelIdentity | None

    def __array_finalize__(self, source: Any) -> None:
        self.model = getattr(source, "model", None)


def belonging(array: Array, model: ModelIdentity | None) -> Array:
    """A view of codes or a timbre that carries ``model``."""
    view = np.asarray(array).view(ModelArray)
    view.model = model
    return view  # type: ignore[return-value]


def model_of(array: object) -> ModelIdentity | None:
    """The model that codes or a timbre are known to belong to; None for any plain array."""
    return array.model if isinstance(array, ModelArray) else None
