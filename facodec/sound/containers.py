"""Sound out of what phones and browsers record (m4a, mp4, webm, amr, aac, wma, ...), by PyAV.

PyAV brings FFmpeg in its wheel; it is the optional extra ``av``. A file's first bytes choose the
one FFmpeg reader that may look at it, so that no playlist or script is ever followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facodec.extras import install
from facodec.reasons import FileError, shown

HEAD = 4096
ATOMS = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
"""First atoms of QuickTime and MP4 files, the length before them."""
MAGIC = {
    b"\x1aE\xdf\xa3": "matroska",
    b"#!AMR": "amr",
    b"0&\xb2u\x8ef\xcf\x11": "asf",
    b"OggS": "ogg",
    b"fLaC": "flac",
    b"caff": "caf",
    b"RIFF": "wav",
    b"ID3": "mp3",
}
CANCELLED = 0.05
"""Share of its power below which the loudest channel counts as cancelled by the others."""
SYNC_ADTS, SYNC_LAYER = 0xF0, 0xF6
TRANSPORT_PACKET = 188


def pieces(
    file: RawIOBase, path: Path, refused: Exception
) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Mono pieces and their rate of a file that libsndfile ``refused``. Raises FileError for what
    is no sound file, and where PyAV is missing."""
    kind = _kind(file.read(HEAD) or b"")
    file.seek(0)
    if kind is None:
        raise FileError(
            f"{shown(path)} is no sound file that can be read (wav, flac, ogg, mp3 and, with "
            f"PyAV, m4a, mp4, webm and amr can): {str(refused).rpartition(': ')[2]}"
        )
    try:
        import av
    except ImportError as error:
        raise FileError(
            f"{shown(path)} is a file of kind {kind}, which needs PyAV: {install('av')}, "
            "or convert it to wav"
        ) from error
    return _decoded(av, file, path, kind)


def _decoded(
    av: Any, file: RawIOBase, path: Path, kind: str
) -> Iterator[tuple[NDArray[np.float32], int]]:
    try:
        with av.open(file, "r", format=kind) as container:
            if not container.streams.audio:
                raise FileError(f"{shown(path)} holds no sound: it has no audio stream")
            resampler, kind_of_frame = None, None
            for frame in container.decode(container.streams.audio[0]):
                changed = kind_of_frame != (frame.sample_rate, frame.layout.name, frame.format.name)
                if resampler is None or changed:
                    kind_of_frame = (frame.sample_rate, frame.layout.name, frame.format.name)
                    # interleaved: PyAV reads past the planes of eight channels and more
                    resampler = av.AudioResampler(
                        format="flt", layout=frame.layout, rate=frame.sample_rate
                    )
                for whole in resampler.resample(frame):
                    channels = whole.to_ndarray().reshape(-1, whole.layout.nb_channels)
                    yield mixed(channels), whole.sample_rate
    except (av.FFmpegError, ValueError, RuntimeError, EOFError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{shown(path)} is damaged: {_reason(error)}") from error


def mixed(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Samples (n, c) of all channels as their mean (n,), or as the loudest of them where they
    cancel each other, as two do of which one was wired the wrong way round."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by who reads
        mono: NDArray[np.float32] = channels.mean(axis=1, dtype=np.float32)
        count = channels.shape[1]
        if count == 1 or not len(mono):
            return mono
        powers = np.square(channels, dtype=np.float64).mean(axis=0)
        alone = powers.max() / count**2  # in the mean, of the loudest if the others were silent
        if np.square(mono, dtype=np.float64).mean() < CANCELLED * alone:
            return np.ascontiguousarray(channels[:, powers.argmax()])
    return mono


def _reason(error: Exception) -> str:
    """Words of an error without its number and the call."""
    return str(getattr(error, "strerror", None) or error)


def _kind(head: bytes) -> str | None:
    """The FFmpeg reader for a file that begins with ``head``, None for what is none of these."""
    if head[4:8] in ATOMS:
        return "mov"
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    if len(head) > 2 and head[0] == 0xFF and head[1] & SYNC_LAYER == SYNC_ADTS:
        return "aac"
    if len(head) > TRANSPORT_PACKET and head[0] == head[TRANSPORT_PACKET] == 0x47:
        return "mpegts"
    return None
