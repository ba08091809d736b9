"""Leakage of each code stream beyond its task: the speaker from content, the pitch from content,
and whether prosody codes alone give the pitch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.kit.common import progress
from benchmarks.speech.probes import (
    Features,
    Numbers,
    chance,
    join_frames,
    pitch_correlation,
    pitch_frames,
    speaker_accuracy,
    split_utterances,
)
from benchmarks.speech.speakers import Audio, Utterance, by_speaker, read
from facodec.bundled import prosody
from facodec.bundled.features import HISTORY, CausalFeatures
from facodec.bundled.model import LiveModel
from facodec.config import CODE_LAYERS, CODEBOOK_SIZE, HOP, MIN_LAYERS, PROSODY_LAYERS, SAMPLE_RATE
from facodec.training.metrics import pitch_agreement
from facodec.training.pitch import track_pitch

if TYPE_CHECKING:
    from facodec import Codec

FEWEST_UTTERANCES = 4
"""Utterances of a speaker that takes part in the probe, at least."""
MOST_UTTERANCES = 8
MOST_SPEAKERS = 60
SEGMENT = 3 * SAMPLE_RATE // HOP
"""Frames pooled into one entry of the speaker probe."""
PROSODY = slice(0, PROSODY_LAYERS)
CONTENT = slice(PROSODY_LAYERS, MIN_LAYERS)
DETAIL = slice(MIN_LAYERS, CODE_LAYERS)
STREAMS = {"prosody codes": PROSODY, "content codes": CONTENT, "detail codes": DETAIL}


@dataclass(frozen=True)
class EncodedUtterance:
    """An utterance, its codes (6, T), and the pitch (T,) at each frame's start in Hz."""

    audio: Audio
    codes: Numbers
    pitch: NDArray[np.float32]
    utterance: int
    speaker: int


def choose_utterances(found: Sequence[Utterance]) -> list[list[Utterance]]:
    """Utterances of at most :data:`MOST_SPEAKERS` speakers, spread over those who have
    :data:`FEWEST_UTTERANCES` or more."""
    enough = [own for own in by_speaker(found).values() if len(own) >= FEWEST_UTTERANCES]
    count = min(MOST_SPEAKERS, len(enough))
    chosen = [enough[i * len(enough) // count] for i in range(count)]
    return [own[:MOST_UTTERANCES] for own in chosen]


def lacking(found: Sequence[Utterance]) -> str | None:
    """Reason that the speaker probe cannot run on these, as a sentence; None when it can."""
    count = len(choose_utterances(found))
    if count >= 2:
        return None
    return (
        f"expected at least 2 speakers with {FEWEST_UTTERANCES} or more utterances, got {count} "
        "(--probe-data names another folder)"
    )


def encode_speakers(codec: Codec, chosen: list[list[Utterance]]) -> list[EncodedUtterance]:
    numbered = [(speaker, one) for speaker, own in enumerate(chosen) for one in own]
    coded = []
    for number, (speaker, one) in enumerate(progress(numbered, "encoding")):
        audio = read([one])
        codes = codec.encode(audio).codes
        coded.append(EncodedUtterance(audio, codes, pitch_at_starts(audio), number, speaker))
    return coded


def pitch_at_starts(audio: Audio) -> NDArray[np.float32]:
    """Reference pitch (T,) in Hz around the start of each frame, which is what codes are about."""
    filled = np.pad(audio, (HOP // 2, -len(audio) % HOP))
    return track_pitch(filled[: len(filled) - HOP // 2])


def measure_speaker(codec: Codec, coded: list[EncodedUtterance]) -> dict[str, float]:
    """Accuracy of the speaker probe by what it is given, and of naming the commonest speaker."""
    rows: dict[str, list[Features]] = {}
    labels, utterances = [], []
    for one in coded:
        latents = _latents(codec, one)
        for part in _segments(one.codes.shape[1]):
            for name, pooled in _pooled(codec, one, latents, part).items():
                rows.setdefault(name, []).append(pooled)
            labels.append(one.speaker)
            utterances.append(one.utterance)
    speakers, numbers = np.array(labels), np.array(utterances)
    test = split_utterances(numbers, speakers)
    results = {
        name: speaker_accuracy(np.stack(pooled), speakers, numbers, test)
        for name, pooled in rows.items()
    }
    return {**results, "chance": chance(speakers, test)}


def _segments(frames: int) -> list[slice]:
    """Whole segments, the rest left out; an utterance shorter than one is one."""
    count = max(1, frames // SEGMENT)
    return [slice(i * SEGMENT, (i + 1) * SEGMENT) for i in range(count)]


def _pooled(
    codec: Codec, one: EncodedUtterance, latents: dict[str, Features], part: slice
) -> dict[str, Features]:
    pooled = {name: _histogram(one.codes[layers, part]) for name, layers in STREAMS.items()}
    pooled.update((name, _moments(latent[part])) for name, latent in latents.items())
    pooled["timbre"] = codec.voice(one.audio[part.start * HOP : part.stop * HOP])
    return pooled


def _histogram(codes: Numbers) -> Features:
    """codes (L, n) -> square roots of the share of each code (1024 L,), layer after layer."""
    counts = np.stack([np.bincount(layer, minlength=CODEBOOK_SIZE) for layer in codes])
    roots: Features = np.sqrt(counts / codes.shape[1]).astype(np.float32)
    return roots.ravel()


def _moments(values: Features) -> Features:
    """(n, D) -> mean and deviation (2 D,)."""
    return np.concatenate((values.mean(axis=0), values.std(axis=0)))


@torch.inference_mode()
def _latents(codec: Codec, one: EncodedUtterance) -> dict[str, Features]:
    """Frame by frame: log-mels, which tell all there is, and of the live model the content
    latent before quantization."""
    audio = torch.from_numpy(np.pad(one.audio, (HISTORY, 0))).unsqueeze(0)
    mels = CausalFeatures()(audio)[0]
    values: dict[str, Tensor] = {"log-mels": mels}
    if isinstance(codec.model, LiveModel):
        past = codec.model.encoder_state(1).content
        latent, _ = codec.model.content_latent(mels.to(codec.device), past)
        values["content before quantization"] = latent
    return {name: value[0].cpu().numpy() for name, value in values.items()}


def measure_pitch_leakage(coded: list[EncodedUtterance]) -> dict[str, dict[str, float]]:
    """Code stream -> correlation of true pitch with the pitch a small network reads from it."""
    results = {}
    for name, layers in STREAMS.items():
        parts = [pitch_frames(one.codes[layers], one.pitch, one.utterance) for one in coded]
        frames = join_frames(parts)
        speakers = np.array([one.speaker for one in coded])[frames.utterances]
        test = split_utterances(frames.utterances, speakers)
        overall, within = pitch_correlation(frames, test)
        results[name] = {"all frames": overall, "within utterances": within}
    return results


def measure_prosody(codec: Codec, audios: Sequence[Audio]) -> dict[str, float] | None:
    """Voicing error and gross pitch error of the pitch in the prosody codes, mean over clips;
    None for a model whose prosody codes do not spell out a pitch."""
    if not isinstance(codec.model, LiveModel):
        return None
    rows = []
    for audio in audios:
        classes, _ = prosody.split(torch.from_numpy(codec.encode(audio).codes[0]))
        told = prosody.pitch_hertz(classes).numpy().astype(np.float32)
        rows.append(pitch_agreement(pitch_at_starts(audio), told))
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
