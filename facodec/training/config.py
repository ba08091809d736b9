"""Everything a training run is decided by, in one frozen dataclass saved beside the weights."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from facodec.files import read_json, write_text
from facodec.reasons import FileError, shown

STAGES = ("all", "decoder", "detail", "content")
LARGEST_FILE = 1 << 20
AT_LEAST = {"unquantized": -1} | dict.fromkeys(
    ("batch", "frames", "reference_frames", "restart_every", "detail_space", "placing"), 1
)
"""Least values of settings; of others 0."""
SHARES = (
    "decay", "average", "no_detail", "no_detail_converted", "truncate", "perturb", "convert",
    "own_pitch",
)  # fmt: skip
AT_MOST = {
    "batch": 4096,
    "frames": 8000,
    "reference_frames": 8000,
    "told_rows": 4096,
} | dict.fromkeys(SHARES, 1)
"""Largest values: a batch must fit into memory, and shares end at 1; of others :data:`LARGEST`."""
LARGEST = 2**31 - 1
SLOWEST, FASTEST = 0.5, 2.0
"""Times its own speed that speech may be played at: beyond them it is hardly a voice."""


@dataclass(frozen=True)
class TrainConfig:
    """Defaults are what the bundled weights were trained with in the end, but for the slower
    learning rate of starting from others, and for the listener, who came after them. Lengths are in
    frames of 12.5 ms."""

    steps: int = 10_000
    seed: int = 1
    stage: str = "all"
    """``all``; ``decoder``: on the frozen codes of the initial weights; or ``detail``: with the
    detail's branch and words, the other codes frozen."""
    detail_space: int = 24
    """In stage ``detail``: dimensions of the space that the words lie in."""
    placing: int = 24
    """In stage ``detail``: batches among whose latents words are placed."""
    fuse: bool = False
    """In stage ``detail``: compile what lies between the products; takes a C++ compiler."""
    speaker_weights: dict[str, float] = field(default_factory=dict)
    """In stages ``decoder`` and ``detail``: how likely a second of a speaker is drawn, by patterns
    of names; the first that matches counts, 0 leaves a speaker out. Patterns of a name are for its
    other speeds too."""
    speeds: list[float] = field(default_factory=list)
    """In stages other than ``all``: at which speeds all speech is there once more, as of other
    speakers, ``NAME@SPEED``."""
    batch: int = 16
    frames: int = 80
    reference_frames: int = 160
    """Longest reference the timbre is taken from: another utterance of the same speaker."""
    learning_rate: float = 1.5e-3
    warmup: int = 200
    decay: float = 0.25
    """Share of the steps, at the end, over which the learning rate falls to a hundredth."""
    weight_decay: float = 0.01
    clip: float = 5.0
    average: float = 0.999
    """Decay of the exponential average of the weights; the average is what is saved for use."""
    unquantized: int = 400
    """Steps before the quantizers switch on, their words drawn from data; -1 where the initial
    weights have words already."""
    restart_every: int = 50
    no_detail: float = 0.2
    """Share of those who hear none of the detail codes, among those whose content was heard from
    their own voice."""
    no_detail_converted: float = 0.6
    """Share without detail among those whose content was heard from a conversion."""
    truncate: float = 0.2
    """Share of each batch that hears 1 or 2 of the 3 detail codes."""
    perturb: float = 1.0
    """Share of each batch whose content branch hears a warped and equalised voice."""
    convert: float = 0.4
    """Share of each batch that the model first speaks in another voice of the batch; the content
    branch hears that."""
    convert_from: int = 3_000
    convert_semitones: float = 2.0
    """Standard deviation of the pitch of those other voices around their own."""
    gain_db: float = 8.0
    pitch_jitter: float = 0.01
    own_pitch: float = 0.5
    """Share of each batch that is spoken at the pitch the encoder found, not the teacher's."""
    own_pitch_from: int = 1_500
    mel_weight: float = 15.0
    level_weight: float = 0.3
    pitch_weight: float = 1.0
    commit_weight: float = 1.0
    agree_weight: float = 0.4
    """Weight of the distance between content heard from the voice itself and from another."""
    kept_weight: float = 4.0
    """Weight of the same distance, asked of the decoder that spoke in the other voice."""
    phone_weight: float = 2.5
    """Weight of reading phones off the content codes, where transcripts tell them."""
    said_weight: float = 0.8
    """Weight of reading the same phones off what the decoder said in another voice."""
    understood_weight: float = 1.0
    """Weight of telling phones off the sound of it, by a listener who learns from recordings
    alone."""
    speaker_weight: float = 0.4
    """Weight of telling speakers by their timbre, and of conversions being told as their
    targets."""
    adversary_weight: float = 0.02
    adversary_rise: int = 2_000
    """Steps over which the adversary who tells speakers by content gets its full weight."""
    critic_weight: float = 0.1
    """Weight of conversions being taken, by a critic who hears recordings too, for recordings of
    their targets."""
    critic_rise: int = 1_000
    """Steps over which the critic and the listener get their full weight."""
    decoder_kept_weight: float = 0.5
    """In stages ``decoder`` and ``detail``: of conversions' envelopes staying as they were."""
    pesq_weight: float = 0.0
    """In stages ``decoder`` and ``detail``: weight of a point of what PESQ hears."""
    stoi_weight: float = 0.0
    """In stages ``decoder`` and ``detail``: weight of what a mean of STOI and ESTOI lacks to 1."""
    periodicity_weight: float = 0.0
    """In stages ``decoder`` and ``detail``: weight of frames being as periodic as recorded."""
    words_weight: float = 0.0
    """In stage ``content``: of conversions' words being heard as the source's."""
    reading_weight: float = 0.0
    """In stage ``content``: of what that teacher hears in recordings being read off content."""
    likeness_weight: float = 0.0
    """In stage ``content``: of conversions' voices being heard as their targets'."""
    likeness_margin: float = 0.3
    """In stage ``content``: by how much, as cosines, that voice is to be nearer to the target."""
    voiceprint_weight: float = 0.0
    """In stage ``content``: of the same for a second teacher, who verifies speakers; where it is
    above 0 timbre is trained too."""
    colour_weight: float = 0.0
    """With it: of conversions' mean spectra being their targets'."""
    told_weight: float = 0.0
    """With it: of that teacher's view of a speaker being told by the timbre."""
    told_rows: int = 0
    """With it: further recordings in each batch, of any speakers alike, of which that is asked; as
    many as ``batch`` or more are the targets of conversions, too."""
    silence_weight: float = 0.0
    """In stages other than ``all``: of silence staying below -85 dB of full scale in any voice, and
    of noise alone coming out 30 dB quieter in every band."""
    noisy: float = 0.0
    """In stages ``decoder`` and ``detail``: share of what is drawn that the encoder hears in noise
    and reverberation; the decoder is to say it without."""
    bf16: bool = True

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"expected a stage of {STAGES}, got {self.stage!r}")
        if not 0.0 <= self.noisy < 1.0 or (self.noisy and self.stage == "all"):
            raise ValueError(
                "expected noisy in [0, 1), and only in stage 'decoder' or 'detail', got "
                f"{self.noisy!r} in {self.stage!r}"
            )
        for name, value in vars(self).items():
            least, most = AT_LEAST.get(name, 0), AT_MOST.get(name, LARGEST)
            if isinstance(value, (int, float)) and not least <= value <= most:
                raise ValueError(f"expected {name} from {least} to {most}, got {value!r}")
        if self.speeds and self.stage == "all":
            raise ValueError("expected speeds only in other stages than 'all'")
        for speed in self.speeds:
            fits = isinstance(speed, (int, float)) and SLOWEST <= speed <= FASTEST
            if not fits or speed == 1.0 or self.speeds.count(speed) > 1:
                raise ValueError(
                    f"expected speeds from {SLOWEST:g} to {FASTEST:g}, each another and none 1, "
                    f"got {self.speeds!r}"
                )
        for name, weight in self.speaker_weights.items():
            if not isinstance(weight, (int, float)) or not 0.0 <= weight < math.inf:
                raise ValueError(f"expected a weight of at least 0 for {name!r}, got {weight!r}")

    def save(self, path: Path) -> None:
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """Read what :meth:`save` wrote; names it does not know and values of another type are a
        FileError."""
        values = read_json(path, LARGEST_FILE)
        if not isinstance(values, dict):
            raise FileError(f"{shown(path)}: expected settings by name")
        kinds = {name: type(value) for name, value in vars(cls()).items()}
        if unknown := set(values) - set(kinds):
            raise FileError(f"{shown(path)}: unknown settings {sorted(unknown)}")
        for name, value in values.items():
            fits = type(value) is kinds[name] or (kinds[name] is float and type(value) is int)
            if not fits or value != value:
                raise FileError(
                    f"{shown(path)}: expected {name} of type {kinds[name].__name__}, got "
                    f"{str(value)[:80]!r}"
                )
        try:
            return cls(**values)
        except ValueError as error:
            raise FileError(f"{shown(path)}: {error}") from error
