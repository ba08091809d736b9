"""Several people in one recording: how alike the voices of its parts are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from facodec.bundled.features import HISTORY
from facodec.bundled.model import BLOCK_FRAMES, scale_mels
from facodec.bundled.talker import PRIOR_FRAMES, is_speech
from facodec.config import HOP

if TYPE_CHECKING:
    from facodec.bundled.model import LiveModel

PART, STEP = 80, 40
"""Voiced frames of a part, about 2 s of talk, and from part to part."""
ROUNDS = 10
SEVERAL = 0.86
"""Likeness below which a recording is of several people. Of 112 recordings of one speaker each
(LibriSpeech, VCTK, speechocean762 and others, 5 to 16 s) 2 are below, 1 of them of the 22 of
speakers that the weights were not trained on; of 113 recordings of two of them, one after the
other, in turns of 3 s, or one for a quarter of the time, 95 % (of unseen speakers 86 %)."""


def talkers_alike(model: LiveModel, audio: Tensor) -> float | None:
    """Cosine of the voices of two groups of parts of the talk in audio (1, N), grouped to be as
    unlike as they can be; None where there is too little talk to group, or one group only."""
    return likeness_of_groups(_part_voices(model, audio))


def likeness_of_groups(voices: NDArray[np.float32]) -> float | None:
    """Cosine of the means of two groups of unit vectors (n, d), found from the two furthest apart;
    None where they do not part."""
    if len(voices) < 2:
        return None
    cosines = voices @ voices.T
    first, second = np.unravel_index(int(cosines.argmin()), cosines.shape)
    means = voices[[first, second]]
    for _ in range(ROUNDS):
        nearer = (voices @ means.T).argmax(1)
        if len(set(nearer.tolist())) < 2:
            return None
        sums = np.stack([voices[nearer == group].mean(0) for group in (0, 1)])
        means = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return float(means[0] @ means[1])


def _part_voices(model: LiveModel, audio: Tensor) -> NDArray[np.float32]:
    """Learned timbres (n, 255) of parts that overlap by half."""
    hidden = _speech(model, audio)
    starts = range(0, len(hidden) - PART + 1, STEP)
    if not starts:
        return np.zeros((0, 1), np.float32)
    parts = torch.stack([hidden[start : start + PART] for start in starts])
    weight = PART + PRIOR_FRAMES
    first = (parts.sum(1) + PRIOR_FRAMES * model.average_first) / weight
    second = (parts.square().sum(1) + PRIOR_FRAMES * model.average_second) / weight
    timbres = model.timbre_vector(first, second, first.new_zeros(len(starts), 1))
    learned: NDArray[np.float32] = timbres[:, :-1].cpu().numpy()
    return learned


def _speech(model: LiveModel, audio: Tensor) -> Tensor:
    """Frames (n, width) of the timbre branch that are speech."""
    whole = F.pad(audio, (0, -audio.shape[1] % HOP))
    state, found = model.encoder_state(1), []
    history, kept, fresh = state.history, state.conditioning, state.fresh
    prosody, timbre = state.prosody, state.timbre
    for block in whole.split(BLOCK_FRAMES * HOP, dim=1):
        before = model.conditioning.settled(block, kept, fresh)
        conditioned, kept = model.conditioning(block, before)
        fresh = torch.zeros_like(fresh)
        padded = torch.cat((history, conditioned), dim=1)
        history = padded[:, -HISTORY:]
        mels, correlation, _ = model.features(padded)
        logits, prosody = model.pitch_logits(mels, correlation, prosody)
        hidden, timbre = model.timbre(scale_mels(mels), timbre)
        found.append(hidden[is_speech(mels, logits.argmax(-1))])
    return torch.cat(found)
