"""Recordings of a voice: how much speech they hold, how clean it is, and the part to use.

Measured on real speech with white noise added: at 11 dB the figure below is 13 to 15 dB and the
voice is hardly the talker's; clean recordings have 18 to 55 dB.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.errors import ClientError
from facodec.bundled.levels import levelled
from facodec.config import SAMPLE_RATE
from facodec.profiles import SUFFIX
from facodec.reasons import shown
from facodec.sound.reading import AudioReader

Samples = NDArray[np.float32]

WINDOW, STEP, SIZE = 640, 320, 2048
"""Samples a frame, from frame to frame, and of its Fourier transform: 40 ms every 20 ms."""
LOWEST, HIGHEST = 70.0, 600.0
"""Hz of a voice; what is lower (hum, an offset) is left out of all measures."""
PERIODIC = 0.6
"""Normalised autocorrelation at a period from which a frame counts as voiced."""
RISE, RANGE = 6.0, 30.0
"""dB above the background, and below the loudest speech, within which frames count as speech."""
BACKGROUND = 10
"""Percentile of the levels that is taken as the background."""
LEAST_BACKGROUND = -101.0
"""dB of full scale: the noise of 16 bits, which is there where silence is digital, too."""
BANDS = 16
BLOCK = 500
"""Frames measured at a time."""
SHORTEST = 0.5
LEAST_SPEECH, LEAST_SHARE = 0.3, 0.12
"""Seconds of voiced speech without which there is no voice, and its share of the recording."""
LEAST_MOVEMENT, LEAST_PITCH = 2.0, 0.05
"""dB that the spectrum and semitones that the pitch of speech move at least; tones do not."""
QUIET = -36.0
"""dB of full scale: speech that is quieter is brought to a usual level, for any model."""
TOO_QUIET = -70.0
"""dB of full scale: of speech that is quieter 16 bits hold too little. Voices enrolled from 16 bits
are alike those at -26 dB by .996 at -46, .965 at -56, .86 at -66 and .63 at -76 (cosines, five
speakers), from floats by 1.000."""
GOOD_SECONDS, GOOD_SPEECH, GOOD_SNR = 3.0, 1.0, 16.0
SEVERAL = 0.86
"""Likeness of parts of a recording below which several people talk in it, as measured in
:data:`facodec.bundled.several_talkers.SEVERAL`, which this does not import: it needs no PyTorch."""
LONGEST, PART = 60, 5
"""Seconds used of a recording, and of the parts that are chosen from a longer one."""
TINY = 1e-12


@dataclass(frozen=True)
class Measured:
    """Measures of a recording: its length and its voiced speech (s), the level of the speech (dB
    of full scale), its distance from the background (dB), and how far pitch (semitones) and
    spectrum (dB) move in it."""

    seconds: float
    speech: float
    level: float = -120.0
    snr: float = 0.0
    pitch: float = 0.0
    movement: float = 0.0

    @property
    def is_speech(self) -> bool:
        """Whether there is speech in it at all: noise, clicks and tones are none."""
        moves = self.movement >= LEAST_MOVEMENT and self.pitch >= LEAST_PITCH
        return self.speech >= LEAST_SPEECH and moves

    def remarks(self) -> list[str]:
        """Sentences on what makes it a poor reference; none for a good one."""
        found = []
        if self.seconds < GOOD_SECONDS or self.speech < GOOD_SPEECH:
            found.append(
                f"it lasts {self.seconds:.1f} s with {self.speech:.1f} s of voiced speech, which "
                f"is short: {GOOD_SECONDS:g} s or more of talk make the voice more alike"
            )
        if self.speech < LEAST_SHARE * self.seconds:
            found.append(
                f"only {self.speech:.1f} s of its {self.seconds:.1f} s are voiced speech: "
                "cut the silence out, or talk more"
            )
        if self.level < TOO_QUIET:
            found.append(
                f"its speech is at {self.level:.0f} dB of full scale, where 16 bits hold little of "
                "a voice: record it louder"
            )
        elif self.snr < GOOD_SNR:
            found.append(
                f"its speech is only {self.snr:.0f} dB above the background, "
                f"{GOOD_SNR:g} dB or more are good: record in a quieter place or nearer"
            )
        return found


@dataclass(frozen=True, eq=False)
class Reference:
    """Samples (n,) to enrol a voice from, and remarks for the user on their quality."""

    samples: Samples
    remarks: list[str]


def read_reference(path: Path) -> Reference:
    """Reads a recording of a voice: the 60 s with most speech, at a level that suits the model.

    Raises ClientError for a recording that is too short or holds no speech, FileError for one
    that cannot be read.
    """
    if path.suffix == SUFFIX:
        raise ClientError(
            f"{shown(path)} is a saved voice, not a recording: saved ones are used by name, and "
            "`facodec voices` lists them"
        )
    chosen = MostSpeech()
    for piece in AudioReader(path).pieces():
        chosen.push(piece)
    samples = chosen.samples()
    if len(samples) < SHORTEST * SAMPLE_RATE:
        raise ClientError(
            f"{shown(path)} is too short for a voice: {len(samples) / SAMPLE_RATE:.2f} s, "
            f"expected at least {SHORTEST:g} s and better {GOOD_SECONDS:g} s or more"
        )
    measured = measure(samples)
    if not measured.is_speech:
        raise ClientError(
            f"no speech found in {shown(path)}: {measured.speech:.1f} s of {measured.seconds:.1f} "
            f"s are voiced, at {measured.level:.0f} dB of full scale; record {GOOD_SECONDS:g} s or "
            "more of one person talking"
        )
    remarks = [f"{shown(path)}: {remark}" for remark in measured.remarks()]
    if measured.level < QUIET:
        samples = levelled(samples, measured.level)
    return Reference(samples, remarks)


def several_people(alike: float | None) -> str | None:
    """A remark where parts of a recording are so little alike (a cosine) that several people talk
    in it."""
    if alike is None or alike >= SEVERAL:
        return None
    return (
        f"it seems to be of several people: its parts are alike by {alike:.2f}, those of one "
        f"person by {SEVERAL:g} or more: cut out one person's talk"
    )


class MostSpeech:
    """Keeps the parts of a recording with most speech, in bounded memory: all of it up to 60 s,
    the 12 best of its parts of 5 s where it is longer."""

    def __init__(self) -> None:
        self._waiting = np.zeros(0, np.float32)
        self._best: list[tuple[float, int, Samples]] = []
        """A heap: seconds of speech, minus the number of the part, its samples."""
        self._parts = 0

    def push(self, samples: Samples) -> None:
        """Take the next samples (n,)."""
        held = np.concatenate([self._waiting, samples])
        size = PART * SAMPLE_RATE
        while len(held) >= size:
            self._keep(held[:size])
            held = held[size:]
        self._waiting = held

    def samples(self) -> Samples:
        """The parts kept (n,), in their order."""
        kept = list(self._best)
        if len(self._waiting):
            kept.append((measure(self._waiting).speech, -self._parts, self._waiting))
        chosen = heapq.nlargest(LONGEST // PART, kept, key=lambda part: part[:2])
        ordered = [part for _, _, part in sorted(chosen, key=lambda part: -part[1])]
        return np.concatenate([np.zeros(0, np.float32), *ordered])

    def _keep(self, part: Samples) -> None:
        entry = (measure(part).speech, -self._parts, part.copy())
        self._parts += 1
        if len(self._best) < LONGEST // PART:
            heapq.heappush(self._best, entry)
        else:
            heapq.heappushpop(self._best, entry)


def measure(samples: Samples) -> Measured:
    """Measures of samples (n,) at 16 kHz."""
    seconds = len(samples) / SAMPLE_RATE
    levels, periodicity, pitches, shapes = _frames(samples)
    background = float(np.percentile(levels, BACKGROUND))
    voiced = (periodicity > PERIODIC) & (levels > background + RISE)
    if not voiced.any():
        return Measured(seconds, 0.0, float(np.percentile(levels, 90)))
    voiced &= levels > np.percentile(levels[voiced], 90) - RANGE
    level = float(10 * np.log10(np.mean(10 ** (levels[voiced] / 10))))
    octaves = np.log2(pitches[voiced])
    return Measured(
        seconds,
        speech=float(voiced.sum()) * STEP / SAMPLE_RATE,
        level=level,
        snr=level - max(background, LEAST_BACKGROUND),
        pitch=float(12 * np.percentile(np.abs(octaves - np.median(octaves)), 75)),
        movement=float(shapes[voiced].std(axis=0).mean()),
    )


def _frames(samples: Samples) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Level (F,) in dB, periodicity (F,), pitch (F,) in Hz and spectral shape (F, bands) in dB."""
    padded = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP]
    blocks = [_block(windows[at : at + BLOCK]) for at in range(0, len(windows), BLOCK)]
    levels, periodicity, pitches, shapes = (np.concatenate(part) for part in zip(*blocks))  # noqa: B905
    return levels, periodicity, pitches, shapes


def _block(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    hann = np.hanning(WINDOW + 1)[:-1]
    first = int(np.ceil(LOWEST * SIZE / SAMPLE_RATE))
    power = np.abs(np.fft.rfft((windows - windows.mean(axis=1, keepdims=True)) * hann, SIZE)) ** 2
    power[:, :first] = 0.0
    level = 10 * np.log10(2 * power.sum(axis=1) / SIZE / (hann**2).sum() + TINY)
    periodicity, pitch = _pitch(power, hann)
    edges = np.unique(np.geomspace(first, SIZE // 2, BANDS + 1).astype(int))
    bands = np.add.reduceat(power, edges[:-1], axis=1)
    shape = 10 * np.log10(bands / np.maximum(bands.sum(axis=1, keepdims=True), TINY) + 1e-3)
    return level, periodicity, pitch, shape


def _pitch(power: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height of the highest peak of the autocorrelation, that of the window taken out, and its
    frequency in Hz."""
    shortest, longest = int(SAMPLE_RATE / HIGHEST), int(SAMPLE_RATE / LOWEST)
    own = np.fft.irfft(np.abs(np.fft.rfft(window, SIZE)) ** 2)[: longest + 1]
    correlation = np.fft.irfft(power)[:, : longest + 1]
    relative = correlation / np.maximum(correlation[:, :1], TINY) / (own / own[0])
    lags = relative[:, shortest:]
    return lags.max(axis=1), SAMPLE_RATE / (lags.argmax(axis=1) + shortest)
