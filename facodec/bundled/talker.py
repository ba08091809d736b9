"""Timbre of who is talking: statistics over the frames of speech, in a long and in a short memory.

The long memory is what is told, a minute of voice and so a good likeness; the short one notices
within a second or two that somebody else is talking, and is told until the long one agrees again.
Both are sums that fade with what is heard, not with time: silence, noise and tones change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from facodec.bundled import prosody
from facodec.config import SAMPLE_RATE

LONG, SHORT = 2400.0, 64.0
"""Voiced frames that the memories hold: half a minute of voice, and 0.8 s."""
PRIOR_FRAMES = 8.0
"""Voiced frames the average voice counts for in a running timbre estimate."""
PITCH_PRIOR_FRAMES = 2.0
"""Frames that the average pitch counts for: few frames tell more of a pitch than of a timbre."""
PITCH_REFERENCE = 150.0
"""Hz; the last entry of a timbre vector is the speaker's median pitch in octaves from here."""
STRANGER, SAME = 0.88, 0.93
"""Cosines of the voices in both memories: below the first somebody else is talking, above the
second nobody; in between both have a share. Of 107 speakers, looked at after every second of
speech, 1 in 200 is below 0.95 from itself, and 1 in 20 above 0.79 from another, 1 in 300 above
0.88."""
LEAST_SPEECH = 20.0
"""Voiced frames, 0.25 s, that a voice is made of at least."""
TONE_DEPTH = 3.0
"""Decades that the mean log-mel of a frame may be below the largest: of voiced frames of speech all
but one in a thousand are less; a tone or a chord is more."""


@dataclass(frozen=True)
class VoiceStatistics:
    """Sums over frames of speech, float64: weight (B,), first and second moment of the timbre
    branch (B, width), and how often each pitch class was heard (B, 128)."""

    weight: Tensor
    first: Tensor
    second: Tensor
    pitches: Tensor

    @classmethod
    def none(cls, batch: int, width: int, device: torch.device) -> VoiceStatistics:
        """Nobody heard yet."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(batch, *shape, dtype=torch.float64, device=device)

        return cls(zeros(), zeros(width), zeros(width), zeros(prosody.PITCH_CLASSES))


@dataclass(frozen=True)
class Memories:
    """Memories of the same frames, :data:`LONG` and :data:`SHORT` frames long."""

    long: VoiceStatistics
    short: VoiceStatistics


def need_speech(weight: float, samples: int) -> None:
    """Raises ValueError where so many samples gave a memory of too little weight for a voice."""
    if weight < LEAST_SPEECH:
        raise ValueError(
            f"no speech found in {samples / SAMPLE_RATE:.1f} s of audio: a voice takes a few "
            "seconds of one person talking"
        )


def is_speech(mels: Tensor, pitch: Tensor) -> Tensor:
    """Whether frames of log10-mels (..., 80) and pitch classes (...) tell of their talker: voiced,
    and no mere tone."""
    depth = mels.amax(-1) - mels.mean(-1)
    return (pitch > prosody.UNVOICED) & (depth < TONE_DEPTH)


def remember(
    memory: VoiceStatistics, limit: float, hidden: Tensor, pitch: Tensor, speech: Tensor
) -> VoiceStatistics:
    """The memory after frames of the timbre branch (B, T, width) and pitch classes (B, T), where
    ``speech`` (B, T): a mean until the limit is reached, from then on one that fades."""
    speech = speech.double()
    heard = speech.cumsum(1)
    count, room = heard[:, -1:], (limit - memory.weight).clamp_min(0.0).unsqueeze(1)
    fades = 1.0 - 1.0 / limit
    weight = speech * fades ** (count - torch.maximum(heard, room)).clamp_min(0.0)
    left = fades ** (count - room).clamp_min(0.0)
    weighted = hidden.double() * weight.unsqueeze(-1)
    return VoiceStatistics(
        weight=memory.weight * left.squeeze(1) + weight.sum(1),
        first=memory.first * left + weighted.sum(1),
        second=memory.second * left + (weighted * hidden.double()).sum(1),
        pitches=(memory.pitches * left).scatter_add(1, pitch, weight),
    )


def reconcile(long: Tensor, short: Tensor) -> Tensor:
    """The timbres (B, 256) to tell from those in both memories."""
    there, here = long[:, :-1], short[:, :-1]
    agreement = (there * here).sum(1, keepdim=True)
    share = ((agreement - STRANGER) / (SAME - STRANGER)).clamp(0.0, 1.0)
    learned = torch.nn.functional.normalize(torch.lerp(here, there, share), dim=1)
    return torch.cat((learned, torch.where(share < 0.5, short, long)[:, -1:]), dim=1)


def median_octaves(pitches: Tensor) -> Tensor:
    """Median (B,) in octaves from the reference of voiced pitch classes counted in (B, 128).

    A median, as some frames are an octave off. The reference counts a little, to begin with.
    """
    counts = pitches.clone()
    counts[:, reference_class()] += PITCH_PRIOR_FRAMES
    below = counts.cumsum(1)
    return octaves((below < below[:, -1:] / 2).sum(1))


def reference_class() -> int:
    """Pitch class of :data:`PITCH_REFERENCE`."""
    return int(prosody.pitch_class(torch.tensor(PITCH_REFERENCE)))


def octaves(classes: Tensor) -> Tensor:
    """Pitch classes in octaves from the reference, float64."""
    return torch.log2(prosody.pitch_hertz(classes) / PITCH_REFERENCE)
