"""The prosody code of the bundled model says what it means: 128 pitch classes times 8 levels.

code = pitch * 8 + level. Pitch class 0 is unvoiced, 1..127 are log-spaced from 55 to 450 Hz
(1.7 % apart); the level is the frame's power in steps of 8 dB.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from facodec.config import HIGHEST_PITCH, LOWEST_PITCH

PITCH_CLASSES = 128
LEVELS = 8
UNVOICED = 0
LOWEST, HIGHEST = LOWEST_PITCH, HIGHEST_PITCH
"""Pitch range in Hz."""
STEP = math.log(HIGHEST / LOWEST) / (PITCH_CLASSES - 2)
"""Natural logarithm of the ratio of neighbouring pitch classes."""
LEVEL_STEP, LEVEL_BOTTOM = 8.0, -66.0
"""dB: width of a level, and the upper edge of the lowest one."""


def pitch_class(hertz: Tensor) -> Tensor:
    """Fundamental frequency in Hz (0 where unvoiced) -> nearest class, int64."""
    position = torch.log(hertz.clamp_min(1.0) / LOWEST) / STEP
    nearest = position.round().long().clamp(0, PITCH_CLASSES - 2) + 1
    return torch.where(hertz > 0, nearest, torch.zeros_like(nearest))


def pitch_hertz(classes: Tensor) -> Tensor:
    """Class -> frequency in Hz, float64; unvoiced gives 0."""
    hertz = LOWEST * torch.exp((classes.double() - 1.0) * STEP)
    return torch.where(classes > UNVOICED, hertz, torch.zeros_like(hertz))


def level_class(decibel: Tensor) -> Tensor:
    """Frame power in dB of full scale -> level 0..7, int64."""
    return ((decibel - LEVEL_BOTTOM) / LEVEL_STEP).ceil().long().clamp(0, LEVELS - 1)


def join(pitch: Tensor, level: Tensor) -> Tensor:
    """Pitch and level classes -> prosody codes."""
    return pitch * LEVELS + level


def split(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Prosody codes -> pitch and level classes."""
    return codes // LEVELS, codes % LEVELS


def shift(codes: Tensor, octaves: Tensor) -> Tensor:
    """Move the pitch of voiced codes by ``octaves`` (broadcast), kept inside the range."""
    pitch, level = split(codes)
    steps = (octaves * math.log(2.0) / STEP).round().long()
    moved = (pitch + steps).clamp(1, PITCH_CLASSES - 1)
    return join(torch.where(pitch == UNVOICED, pitch, moved), level)
