"""The distribution of real speakers' timbres, and voices of nobody drawn from it.

``speakers.safetensors`` beside a model's weights, made by ``facodec train --export DIR --data
SPEECH``: a mean timbre (255,), principal axes (k, 255), and for each speaker the coordinates on
them, then the median pitch in octaves, (n, k + 1) float16; in its metadata the model's identity and
a SHA-256, as voices have.
A voice is drawn from a normal distribution of the coordinates of those speakers whose pitch is low,
or of those whose pitch is high. It lies in the space of the axes, so that its likeness to every one
of the speakers is known from their coordinates, and it is drawn again where it is like one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facodec.config import TIMBRE_DIM
from facodec.identity import ModelIdentity, ModelMismatch, need_model
from facodec.reasons import FileError, shown
from facodec.weights.timbres import MAKE_ANEW, read_vectors, write_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

VECTORS = "speakers.safetensors"
LEARNED = TIMBRE_DIM - 1
AXES = 48
"""Principal axes kept."""
FEWEST = 40
"""Speakers that make a distribution."""
SPLIT = 0.1
"""Octaves from 150 Hz that part low voices from high ones: 161 Hz."""
TYPICAL = 90
"""Percentile of the speakers' own distances from the mean that a voice stays within."""
PITCH_EDGE = 5
"""Percentile from either end of their pitches that it stays within."""
LIKENESS = 0.88
"""Cosine to any speaker, and to any other voice to keep clear of, that a voice stays below."""
FAR = 0.52
"""Cosine to the talker that a voice stays below."""
DISTINCT = 1.6
"""Distance of a voice from the speakers' mean, of the one at which it was drawn: what the codes
still give away of the talker is heard less in a voice that is more its own."""
TRIES = 2000
Timbre = NDArray[np.float32]
Numbers = NDArray[np.float64]


class NoSuchVoice(ValueError):
    """No voice could be drawn that keeps as far from others as it has to."""


@dataclass(frozen=True, eq=False)
class Speakers:
    """``mean`` (255,), ``axes`` (k, 255) orthonormal, ``coordinates`` (n, k + 1), pitch last."""

    mean: Numbers
    axes: Numbers
    coordinates: Numbers

    @classmethod
    def of(cls, timbres: Sequence[Timbre]) -> Speakers:
        """The distribution of speakers' timbres (256,). Raises ValueError for too few."""
        if len(timbres) < FEWEST:
            raise ValueError(f"expected {FEWEST} speakers or more, got {len(timbres)}")
        vectors = np.stack(timbres).astype(np.float64)
        learned, pitch = vectors[:, :LEARNED], vectors[:, LEARNED:]
        mean = learned.mean(axis=0)
        axes = np.linalg.svd(learned - mean, full_matrices=False)[2][:AXES]
        return cls(mean, axes, np.hstack(((learned - mean) @ axes.T, pitch)))

    def draw(
        self,
        rng: np.random.Generator,
        others: Sequence[Timbre] = (),
        talker: Timbre | None = None,
    ) -> Timbre:
        """A voice (256,) of nobody: none of the speakers, none of ``others``, and far from the
        ``talker``. Raises NoSuchVoice."""
        group = self._groups[int(rng.integers(len(self._groups)))]
        for _ in range(TRIES):
            point = group.draw(rng)
            voice = self._voice(point)
            if self.likeness(voice, others) < LIKENESS and (
                talker is None or _cosine(voice, talker) < FAR
            ):
                return voice
        raise NoSuchVoice("no voice of nobody was found that is far enough from others")

    def likeness(self, voice: Timbre, others: Sequence[Timbre] = ()) -> float:
        """Largest cosine of the learned numbers of a voice (256,) that was drawn here to any
        speaker and to any of the others."""
        told = max((_cosine(voice, other) for other in others), default=-1.0)
        return max(told, float((self._learned @ voice[:LEARNED]).max()))

    @cached_property
    def _learned(self) -> Numbers:
        """Speakers' learned numbers (n, 255) as far as the axes tell them, as if they had unit
        length: they do before the rest of the axes is cut off."""
        return self.mean + self.coordinates[:, :-1] @ self.axes

    @cached_property
    def _groups(self) -> list[_Group]:
        high = self.coordinates[:, -1] > SPLIT
        return [_Group.of(self.coordinates[part]) for part in (~high, high) if part.sum() > 1]

    def _voice(self, point: Numbers) -> Timbre:
        learned = self.mean + DISTINCT * (point[:-1] @ self.axes)
        learned /= np.linalg.norm(learned)
        return np.append(learned, point[-1]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Group:
    """A normal distribution of coordinates (k + 1,), cut off where the speakers get few."""

    centre: Numbers
    spread: Numbers
    widest: float
    pitches: tuple[float, float]

    @classmethod
    def of(cls, points: Numbers) -> _Group:
        centre = points.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(points.T))
        scales = np.sqrt(np.maximum(values, 1e-6 * values.max()))
        distances = np.linalg.norm((points - centre) @ (vectors / scales), axis=1)
        low, high = np.percentile(points[:, -1], (PITCH_EDGE, 100 - PITCH_EDGE))
        widest = float(np.percentile(distances, TYPICAL))
        return cls(centre, vectors * scales, widest, (float(low), float(high)))

    def draw(self, rng: np.random.Generator) -> Numbers:
        """Coordinates (k + 1,) of a voice that is not out of the ordinary."""
        point = self.centre
        for _ in range(TRIES):
            normal = rng.standard_normal(len(self.centre))
            point = self.centre + self.spread @ normal
            within = self.pitches[0] <= point[-1] <= self.pitches[1]
            if within and np.linalg.norm(normal) <= self.widest:
                break
        return point


def load_speakers(folder: Path, model: ModelIdentity) -> Speakers | None:
    """The distribution that comes with a model's weights; None where there is none. A damaged
    file, or one of another model, is a FileError."""
    path = folder / VECTORS
    if not path.exists():
        return None
    found, made = read_vectors(path, "speakers")
    try:
        parts = [_checked(found[name], name) for name in ("mean", "axes", "coordinates")]
        _check_sizes(*parts)
    except (KeyError, ValueError) as error:
        raise FileError(f"cannot read speakers from {shown(path)}: {error}") from error
    try:
        need_model(f"{shown(path)}: its speakers were", made, model, MAKE_ANEW)
    except ModelMismatch as error:
        raise FileError(str(error)) from error
    return Speakers(*parts)


def save_speakers(folder: Path, speakers: Speakers, model: ModelIdentity) -> None:
    """Write the distribution of a model's speakers, in place of one that was there."""
    parts: dict[str, NDArray[Any]] = {
        "mean": speakers.mean.astype(np.float32),
        "axes": np.ascontiguousarray(speakers.axes, np.float32),
        "coordinates": speakers.coordinates.astype(np.float16),
    }
    write_vectors(folder / VECTORS, parts, model)


def _checked(array: NDArray[Any], name: str) -> Numbers:
    if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
        raise ValueError(f"expected finite numbers in {name!r}")
    return array.astype(np.float64)


def _check_sizes(mean: Numbers, axes: Numbers, coordinates: Numbers) -> None:
    count = len(axes)
    if (
        mean.shape != (LEARNED,)
        or axes.shape != (count, LEARNED)
        or coordinates.shape != (len(coordinates), count + 1)
        or len(coordinates) < FEWEST
    ):
        raise ValueError(
            f"expected a mean ({LEARNED},), axes (k, {LEARNED}) and coordinates (n, k + 1) of "
            f"{FEWEST} speakers or more, got {mean.shape}, {axes.shape} and {coordinates.shape}"
        )


def _cosine(one: Timbre, other: Timbre) -> float:
    return float(np.asarray(one)[:LEARNED] @ np.asarray(other)[:LEARNED])
