"""The messages of the protocol as types, its errors, and voices as wire bytes.

docs/protocol.md explains each field; :mod:`streaming.wire.protocol` turns messages into bytes and
back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import numpy as np

from facodec.config import CODE_BITS, CODE_LAYERS, LARGEST_TIMBRE, TIMBRE_DIM
from facodec.names import is_anonymous
from streaming.wire.refusal import CLOSE_CODES as CLOSE_CODES
from streaming.wire.refusal import ProtocolError as ProtocolError
from streaming.wire.tokens import MAX_TOKEN as MAX_TOKEN

VERSION = 1
"""Version of a hello and a ready that do not say another: what the first subprotocol speaks."""
SUBPROTOCOL = "facodec.v1"
COMPACT_SUBPROTOCOL = "facodec.v2"
VERSIONS: Mapping[str, int] = {COMPACT_SUBPROTOCOL: 2, SUBPROTOCOL: 1}
"""Subprotocols, the preferred one first, and the version that each stands for."""

Role: TypeAlias = Literal[
    "encode", "decode", "loopback", "convert", "publish", "subscribe", "enroll"
]
Format: TypeAlias = Literal["pcm", "codes"]
PcmFormat: TypeAlias = Literal["f32", "s16"]
VoiceForm: TypeAlias = Literal["exact", "compact"]
Replay: TypeAlias = Literal["all", "newest"]
PresenceState: TypeAlias = Literal["away", "back"]

ROLES: tuple[Role, ...] = get_args(Role)
FORMATS: tuple[Format, ...] = ("pcm", "codes")
PCM_FORMATS: tuple[PcmFormat, ...] = ("f32", "s16")
VOICE_FORMS: tuple[VoiceForm, ...] = ("exact", "compact")
REPLAYS: tuple[Replay, ...] = ("all", "newest")
PRESENCE_STATES: tuple[PresenceState, ...] = ("away", "back")

FORMATS_OF: Mapping[Role, tuple[tuple[Format | None, Format | None], ...]] = {
    "encode": (("pcm", "codes"),),
    "decode": (("codes", "pcm"),),
    "loopback": (("pcm", "pcm"), ("codes", "codes")),
    "convert": (("pcm", "pcm"), ("pcm", "codes"), ("codes", "pcm"), ("codes", "codes")),
    "publish": (("pcm", None), ("codes", None)),
    "subscribe": ((None, "pcm"), (None, "codes")),
    "enroll": (("pcm", None),),
}
"""The (input, output) pairs each role offers; the first that fits is what an omitted one means."""

MAX_FRAMES_PER_PACKET = 8
"""Most frames in a packet the server sends."""
MAX_FRAMES_PER_MESSAGE = 80
"""Most frames (one second) in a media message the client sends."""
VOICE_ESTIMATE_BYTES = 2 * TIMBRE_DIM
VOICE_EXACT_BYTES = 4 * TIMBRE_DIM
MAX_NAME = 64
MAX_SHIFT = 12.0
"""Most semitones that a voice is moved by."""
MAX_STAMP_EVERY = 1024
STAMP_EVERY = 16
"""Packets for one with stamps, where a hello of version 2 does not say."""
NOISE_BYTES = 5
MAX_REDUNDANCY = 4
"""Most packets from one to its repeat."""
MAX_COUNT = 2**53


@dataclass(frozen=True)
class Hello:
    """Client's first message: what it wants. See :data:`FORMATS_OF` for the pairs of formats."""

    role: Role
    input: Format | None = None
    output: Format | None = None
    pcm: PcmFormat = "f32"
    model: str | None = None
    voice: bytes | str | None = None
    """1024 bytes (256 float32, little-endian) or the name of a voice the server knows."""
    room: str | None = None
    layers: int = CODE_LAYERS
    frames_per_packet: int = 1
    token: str | None = field(default=None, repr=False)
    seed: int = 0
    pitch: float | None = None
    """Median pitch of who converts, Hz; None: to be heard."""
    talker: bytes | str | None = None
    """Timbre of who is talking, like ``voice``: what the running estimates begin with."""
    version: int = VERSION
    resume: str | None = None
    """The token of the ``ready`` of the session, or the publisher, that this one goes on with."""
    identity: str | None = None
    """The model that the client's codes and its voice belong to, ``live@3f9a1c5b7d20``."""
    voices: VoiceForm | None = None
    """Form of voices in version 2; None: exact."""
    stamps: int | None = None
    """In version 2, packets from the server for one that carries stamps; None: 16."""
    coder: str | None = None
    """Identity of the entropy coder's tables that the client has."""
    pauses: bool | None = None
    """Whether frames may be missing both ways where nobody speaks."""
    live: bool | None = None  # what a listener's link does not take in time is not sent
    redundancy: int | None = None
    """Packets from one of codes to the one that repeats what matters of it; None: nothing is."""
    fewer_layers: bool | None = None
    """Whether packets of codes may leave out detail, both ways, in version 2."""
    replay: Replay | None = None
    """The session may outlive its connection; then all that was lost is sent again, or only the
    newest of it. None: it ends with its connection."""
    received: int | None = None
    """Messages of the session that a client has which comes back with ``resume``."""
    keep: str | None = None
    """Name under which the server is to keep the voice that it enrols."""

    @property
    def converts(self) -> bool:
        """Whether what comes in is converted: into a voice of nobody it is in every role, as who
        talks could be told by pitch and detail."""
        return self.role == "convert" or (self.role != "enroll" and is_anonymous(self.voice))

    @property
    def is_passed_on(self) -> bool:
        """Whether it publishes codes as they come, so that nothing is computed for it."""
        return self.role == "publish" and self.formats()[0] == "codes" and not self.converts

    def formats(self) -> tuple[Format | None, Format | None]:
        """(input, output) with what was omitted filled in from the role.

        Raises ProtocolError("bad-role") for a pair the role does not offer."""
        for pair in FORMATS_OF[self.role]:
            if self.input in (None, pair[0]) and self.output in (None, pair[1]):
                return pair
        offered = " or ".join(f"{i or 'nothing'} -> {o or 'nothing'}" for i, o in
                              FORMATS_OF[self.role])  # fmt: skip
        raise ProtocolError(
            "bad-role",
            f"role {self.role!r}: expected {offered}, got {self.input} -> {self.output}",
        )


@dataclass(frozen=True)
class Stamps:
    """Times of the newest input inside a packet; durations in s, by the server.

    ``t``: that input's capture stamp, echoed (the client's own clock). ``queue``: from its arrival
    to the model. ``encode``, ``decode``: computing.
    """

    t: float | None = None
    queue: float = 0.0
    encode: float = 0.0
    decode: float = 0.0


@dataclass(frozen=True)
class Audio:
    """PCM, either way. ``seq``: index of the hop its first sample lies in. ``data``: mono samples,
    little-endian, in the session's PCM format. ``t`` goes up, ``stamps`` come down."""

    seq: int
    data: bytes
    t: float | None = None
    stamps: Stamps | None = None


@dataclass(frozen=True)
class Repeat:
    """Prosody and content of ``n`` frames that went before, the first of them ``back`` frames
    before those of its message: three codes each, packed like those."""

    back: int
    n: int
    data: bytes


@dataclass(frozen=True)
class Codes:
    """``n`` frames of codes from frame ``seq`` on, packed by :mod:`facodec.bitstream`. ``repeat``:
    of earlier ones; ``layers``: codes of each frame, where these are fewer than the session's; both
    in version 2 where that was agreed."""

    seq: int
    n: int
    data: bytes
    t: float | None = None
    stamps: Stamps | None = None
    repeat: Repeat | None = None
    layers: int | None = None


@dataclass(frozen=True)
class Voice:
    """A timbre that holds from here on: 512 bytes of float16 (a running estimate), 1024 bytes of
    float32 (an exact voice), little-endian, or from a client the name of one that the server knows.
    ``identity``: the model it belongs to, where the client says it."""

    data: bytes | str
    identity: str | None = None
    alike: float | None = None
    """Likeness of the voices in an enrolment's parts, a cosine; None where not known."""
    shift: float | None = None
    """Semitones that the voice is to speak higher than it does."""

    @classmethod
    def estimate(cls, vector: np.ndarray) -> Voice:
        """vector (256,) -> the compact form, rounded to float16."""
        return cls(np.asarray(vector, dtype="<f2").tobytes())

    @classmethod
    def exact(cls, vector: np.ndarray) -> Voice:
        """vector (256,) -> the exact form."""
        return cls(exact_voice(vector))

    @property
    def is_exact(self) -> bool:
        return isinstance(self.data, str) or len(self.data) == VOICE_EXACT_BYTES

    def vector(self) -> np.ndarray:
        """(256,) float32. Raises ProtocolError("bad-voice") where it is only named."""
        if isinstance(self.data, str):
            raise ProtocolError("bad-voice", f"expected the voice {self.data!r} itself, got a name")
        return voice_vector(self.data)


@dataclass(frozen=True)
class Noise:
    """In place of frames in which nobody speaks, in version 2: all before frame ``seq`` that were
    not sent are a pause. ``data``: how the noise in it sounds
    (:class:`facodec.link.comfort.Description`), empty where that is as before."""

    seq: int
    data: bytes = b""


@dataclass(frozen=True)
class Clock:
    """Asks for the server's clock: client's ``t0`` comes back with the server's ``t1``, in s.
    ``received``: messages of the session that the client has, where all may be sent again."""

    t0: float
    t1: float | None = None
    received: int | None = None


@dataclass(frozen=True)
class Presence:
    """Tells a listener whose session may come back that its publisher's connection was lost, or
    is there again."""

    publisher: PresenceState


@dataclass(frozen=True)
class End:
    """The client has sent everything: flush, then ``done``."""


@dataclass(frozen=True)
class LatencyInfo:
    """Algorithmic delay of the model, in samples; see :class:`facodec.config.Latency`."""

    encoder: int
    decoder: int


@dataclass(frozen=True)
class Limits:
    """Limits of the server: bytes in a message, frames in a media message, seconds of audio it
    queues before it stops reading, seconds of silence from a client before it hangs up."""

    max_message: int
    max_frames: int
    backlog: float
    idle_timeout: float


@dataclass(frozen=True)
class Ready:
    """The session is open. For a subscriber this comes once the room has a publisher, and
    ``model`` and ``layers`` are the publisher's."""

    session: str
    model: str
    sample_rate: int
    hop: int
    layers: int
    latency: LatencyInfo
    limits: Limits
    version: int = VERSION
    resume: str | None = None
    """With it in ``hello`` a session that may come back goes on after a lost connection, and a
    publisher's room is its own again."""
    identity: str | None = None
    """The model that codes and voices of this session belong to."""
    voices: VoiceForm | None = None
    coder: str | None = None
    pauses: bool | None = None
    redundancy: int | None = None
    fewer_layers: bool | None = None
    """Whether the hello's wishes for pauses, repeats and packets of fewer layers hold."""
    first: int | None = None
    """Index of the first frame that a listener in version 2 gets."""
    replay: Replay | None = None
    """Part of the messages that is sent again when the session comes back; None: it cannot."""
    received: int | None = None
    """To a client that has come back: messages of the session that the server has."""


@dataclass(frozen=True)
class Error:
    """Reason that the session ends; the close follows. ``code`` is one of :data:`CLOSE_CODES`."""

    code: str
    message: str


DoneReason: TypeAlias = Literal["end", "publisher-left", "replaced", "shutdown"]
DONE_REASONS: tuple[DoneReason, ...] = ("end", "publisher-left", "replaced", "shutdown")


@dataclass(frozen=True)
class Done:
    """All that was owed has been sent. Frames and media bytes the server got and sent, seconds it
    spent computing, the longest an input waited, and why the stream ended."""

    frames_in: int
    frames_out: int
    bytes_in: int = 0
    bytes_out: int = 0
    encode: float = 0.0
    decode: float = 0.0
    queue_max: float = 0.0
    reason: DoneReason = "end"
    talker: bytes | None = None
    """Talker that was heard, 1024 bytes like an exact voice; None where too little was."""
    pitch: float | None = None
    """His median pitch, Hz."""


ClientMessage: TypeAlias = Hello | Audio | Codes | Voice | Noise | Clock | End
ServerMessage: TypeAlias = Ready | Audio | Codes | Voice | Noise | Clock | Presence | Error | Done
Message: TypeAlias = ClientMessage | ServerMessage

TYPE_NAMES: Mapping[type, str] = {
    Hello: "hello", Audio: "audio", Codes: "codes", Voice: "voice", Clock: "clock", End: "end",
    Ready: "ready", Error: "error", Done: "done", Noise: "noise", Presence: "presence",
}  # fmt: skip


def exact_voice(vector: np.ndarray) -> bytes:
    """vector (256,) -> its exact form, 1024 bytes."""
    return np.asarray(vector, dtype="<f4").tobytes()


def voice_vector(data: bytes) -> np.ndarray:
    """Timbre (256,) float32 of either wire form. Raises ProtocolError("bad-voice")."""
    if len(data) not in (VOICE_ESTIMATE_BYTES, VOICE_EXACT_BYTES):
        raise ProtocolError(
            "bad-voice",
            f"expected a voice of {VOICE_ESTIMATE_BYTES} bytes (float16) or {VOICE_EXACT_BYTES} "
            f"bytes (float32), got {len(data)}",
        )
    kind = "<f2" if len(data) == VOICE_ESTIMATE_BYTES else "<f4"
    vector = np.frombuffer(data, dtype=kind).astype(np.float32)
    largest = float(np.abs(vector).max())
    if not largest <= LARGEST_TIMBRE:
        raise ProtocolError(
            "bad-voice", f"expected numbers of a voice up to {LARGEST_TIMBRE:g}, got {largest:g}"
        )
    return vector


def codes_size(layers: int, frames: int) -> int:
    """Bytes that ``frames`` frames of ``layers`` codes take in one message."""
    return -(-CODE_BITS * layers * frames // 8)
