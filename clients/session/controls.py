"""Controls of a live command that a person has under the fingers while it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from streaming.wire.protocol import MAX_SHIFT

MOST_GAIN = 24.0
"""dB, both ways."""
HELP = """\
  n p  or right left   next, previous voice       m  mute
  u d  or up down      pitch, by a semitone       b  bypass: your own voice
  + -                  loudness, by 1 dB          ?  these keys"""
KEYS = {
    "n": "next", "right": "next", "p": "previous", "left": "previous",
    "u": "higher", "up": "higher", "d": "lower", "down": "lower",
    "+": "louder", "=": "louder", "-": "softer",
    "m": "mute", "b": "bypass",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Choice:
    """A voice that can be chosen. ``voice``: timbre (256,), or a name that the server knows; None:
    the talker's own."""

    name: str
    voice: np.ndarray | str | None


class Controls:
    """State of the controls. ``first``: the voice that the command began with; ``shift``:
    semitones by which the voice is moved; ``gain``: of what is heard, dB."""

    def __init__(self, first: Choice, shift: float = 0.0, gain: float = 0.0) -> None:
        self._voices = [first]
        self._at = 0
        self.shift = shift
        self.gain = gain
        self.muted = False
        self.bypassed = False

    @property
    def chosen(self) -> Choice:
        """The voice that is wanted now."""
        return self._voices[self._at]

    @property
    def is_first(self) -> bool:
        """Whether that is the voice the command began with."""
        return self._at == 0

    @property
    def has_others(self) -> bool:
        """Whether there is more than that one."""
        return len(self._voices) > 1

    @property
    def factor(self) -> float:
        """The gain as a factor."""
        return 1.0 if self.gain == 0.0 else float(10 ** (self.gain / 20))

    def offer(self, choices: Iterable[Choice]) -> None:
        """More voices to choose from, but for those whose name is there."""
        for choice in choices:
            if choice.name not in {one.name for one in self._voices}:
                self._voices.append(choice)

    def set_back(self, choice: Choice, shift: float) -> None:
        """Takes a change of voice back."""
        self._at = self._voices.index(choice)
        self.shift = shift

    def press(self, key: str) -> bool:
        """Does what a key means; returns whether it means anything."""
        meaning = KEYS.get(key)
        if meaning in ("next", "previous"):
            step = 1 if meaning == "next" else -1
            self._at = (self._at + step) % len(self._voices)
        elif meaning in ("higher", "lower"):
            step = 1 if meaning == "higher" else -1
            self.shift = _within(self.shift + step, MAX_SHIFT)
        elif meaning in ("louder", "softer"):
            step = 1 if meaning == "louder" else -1
            self.gain = _within(self.gain + step, MOST_GAIN)
        elif meaning == "mute":
            self.muted = not self.muted
        elif meaning == "bypass":
            self.bypassed = not self.bypassed
        return meaning is not None

    def as_line(self) -> str:
        """Returns what holds, in a few words."""
        words = [
            "bypass" if self.bypassed else self.chosen.name,
            f"{self.shift:+g} st" if self.shift else "",
            f"{self.gain:+g} dB" if self.gain else "",
            "muted" if self.muted else "",
        ]
        return " ".join(word for word in words if word)

    def as_dict(self) -> dict[str, Any]:
        """A JSON value; semitones and dB."""
        return {
            "voice": self.chosen.name,
            "shift": self.shift,
            "gain_db": self.gain,
            "muted": self.muted,
            "bypassed": self.bypassed,
        }


def _within(value: float, most: float) -> float:
    return max(-most, min(most, value))
