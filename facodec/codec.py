"""What users call: a codec, and streams of it that take any chunk length.

Arrays go in as numpy or tensors and come out as numpy: audio and timbre float32, codes int64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from facodec.bitstream import check_codes
from facodec.bundled.loudness import Loudness, forgets_level
from facodec.bundled.model import LiveModel
from facodec.bundled.prosody import pitch_hertz, split
from facodec.bundled.steps import FastLive
from facodec.config import (
    ABSENT,
    CODE_LAYERS,
    HOP,
    LARGEST_TIMBRE,
    LOUDEST,
    MIN_LAYERS,
    SAMPLE_RATE,
    TIMBRE_DIM,
    Latency,
)
from facodec.identity import AGAIN, Array, ModelIdentity, belonging, model_of, need_model
from facodec.model import CodecModel, State
from facodec.streams.conversion import ConvertedVoice
from facodec.streams.lanes import Lanes, as_numpy
from facodec.weights.hashing import identity_of

Audio = NDArray[np.float32]
Codes = NDArray[np.int64]
Timbre = NDArray[np.float32]
DECODE = "decode them with the model they were encoded with (--model)"


@dataclass(frozen=True)
class Frames:
    """codes (6, T), timbre (256,); both carry the model's identity, see
    :class:`facodec.identity.ModelArray`."""

    codes: Codes
    timbre: Timbre


class Codec:
    """A model behind a plain interface. Offline calls here; streams from the ``*_stream`` methods.

    ``backend``: of the bundled model's streams, see :class:`facodec.bundled.steps.FastLive`; other
    models have chosen theirs. ``identity``: where it was worked out before.

    Codes and timbres that it gives carry its identity; those of another model are refused with a
    :class:`facodec.identity.ModelMismatch`, while plain arrays are taken to be its own.

    One codec may serve many streams. Calls from several threads at once are safe: what changes
    hangs on the streams, and :attr:`lanes` take care of themselves.
    """

    sample_rate = SAMPLE_RATE
    hop = HOP

    def __init__(
        self,
        model: CodecModel,
        voices: Mapping[str, Timbre] | None = None,
        backend: str = "auto",
        identity: ModelIdentity | None = None,
    ) -> None:
        self.model, self._backend = model, backend
        if identity is not None:
            self.identity = identity
        self.voices = {name: self._own(voice) for name, voice in (voices or {}).items()}
        """Timbres (256,) that come with the weights, by name."""
        module = cast(nn.Module, model)
        module.eval().requires_grad_(False)
        self.device = next(module.parameters()).device

    @cached_property
    def identity(self) -> ModelIdentity:
        """Which model its codes and timbres belong to, with the weights it has when this is first
        asked for."""
        return identity_of(cast(nn.Module, self.model))

    @cached_property
    def steps(self) -> CodecModel | FastLive:
        """What streams run: the model itself, or the bundled one prepared for single hops, with
        the weights it has when this is first asked for."""
        model = self.model
        return FastLive(model, self._backend) if isinstance(model, LiveModel) else model

    @cached_property
    def lanes(self) -> Lanes:
        """Streams that are stepped in batches, where there are many."""
        return Lanes(self.model, self.steps, self.device)

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def backend(self) -> str:
        """How its streams compute, as :func:`facodec.load` names it."""
        return str(getattr(self.steps, "backend", "float32"))

    @property
    def says_level(self) -> bool:
        """Whether its prosody codes say the level, see :mod:`facodec.bundled.loudness`."""
        return self.name == LiveModel.name

    @property
    def latency(self) -> Latency:
        """Algorithmic delay in samples."""
        return self.model.latency

    def forgets(self, codes: Codes) -> bool:
        """Whether a decoder that has heard just these frames (K, n) speaks what follows, but for
        rounding, as if it had heard those before them too: see :meth:`DecoderStream.skip`."""
        memory = self.model.decoder_memory
        if memory is None or codes.shape[1] < memory:
            return False
        return not self.says_level or forgets_level(codes)

    @torch.inference_mode()
    def encode(self, audio: ArrayLike | Tensor) -> Frames:
        """audio (N,) at 16 kHz -> frames; the last one is filled up with silence."""
        codes, timbre = self.model.encode_with_timbre(self._audio(audio))
        return Frames(self._own(as_numpy(codes[0])), self._own(as_numpy(timbre[0])))

    @torch.inference_mode()
    def decode(self, codes: ArrayLike | Tensor, timbre: ArrayLike | Tensor, seed: int = 0) -> Audio:
        """codes (K, T), K = 3..6 (missing ones are detail left out) and timbre (256,) -> audio
        (200 T,). ``seed`` fixes any noise in the synthesis."""
        prepared = self.tensor_codes(codes)
        if prepared.shape[2] == 0:
            return np.zeros(0, dtype=np.float32)
        voice = self.tensor_timbre(timbre)
        audio = cast(Audio, as_numpy(self.model.decode(prepared, voice, seed)[0]))
        if not self.says_level:
            return audio
        owed = self.model.latency.decoder
        spoken, after = Loudness().step(as_numpy(prepared[0]), audio[:-owed])
        return np.concatenate((spoken, after.last(audio[-owed:])))

    @torch.inference_mode()
    def voice(self, audio: ArrayLike | Tensor) -> Timbre:
        """Timbre (256,) of the speaker in audio (N,): three seconds or more are best. A ValueError
        where the bundled model hears no speech."""
        return self._own(as_numpy(self.model.voice(self._audio(audio))))

    @torch.inference_mode()
    def talkers_alike(self, audio: ArrayLike | Tensor) -> float | None:
        """Likeness of the voices of the parts of audio (N,), a cosine, see
        :mod:`facodec.bundled.talkers`: below :data:`facodec.bundled.talkers.SEVERAL` there are
        several people. None where there is too little talk, and for models that this was not
        calibrated for."""
        from facodec.bundled.talkers import talkers_alike

        model = self.model
        return talkers_alike(model, self._audio(audio)) if isinstance(model, LiveModel) else None

    def convert(
        self,
        audio: ArrayLike | Tensor,
        timbre: ArrayLike | Tensor,
        seed: int = 0,
        pitch: float | None = None,
        talker: ArrayLike | Tensor | None = None,
    ) -> Audio:
        """audio (N,) spoken with the voice ``timbre`` (256,): what a converter stream gives,
        (200 T,) samples."""
        stream = self.converter_stream(timbre, seed, pitch, talker)
        samples = as_samples(audio)
        if not len(samples):
            raise ValueError("audio is empty: wanted at least one sample")
        return np.concatenate((stream.push(samples), stream.flush()))

    @torch.inference_mode()
    def convert_codes(
        self, codes: ArrayLike | Tensor, source: ArrayLike | Tensor | None, target: ArrayLike
    ) -> Codes:
        """What conversion into ``target`` (256,) makes of codes (K, n) spoken with timbre
        ``source`` (256,), None where unknown: codes (3, n), the detail left out, to be decoded
        with what :meth:`convert_timbre` gives."""
        here = None if source is None else self.tensor_timbre(source)
        there = self.tensor_timbre(target)
        converted = self.model.convert_codes(self.tensor_codes(codes), here, there)
        return self._own(as_numpy(converted[0, :MIN_LAYERS]))

    @torch.inference_mode()
    def convert_timbre(self, source: ArrayLike | Tensor | None, target: ArrayLike) -> Timbre:
        """The timbre (256,) to decode with when codes spoken with timbre ``source`` (256,), None
        where unknown, were converted into ``target`` (256,)."""
        here = None if source is None else self.tensor_timbre(source)
        return self._own(as_numpy(self.model.convert_timbre(here, self.tensor_timbre(target))[0]))

    def encoder_stream(self) -> EncoderStream:
        """A live encoder: samples in, codes (6, m) out."""
        return EncoderStream(self)

    def decoder_stream(self, timbre: ArrayLike | Tensor, seed: int = 0) -> DecoderStream:
        """A live decoder in the voice ``timbre`` (256,): codes (K, n) in, samples out."""
        return DecoderStream(self, timbre, seed)

    def converter_stream(
        self,
        timbre: ArrayLike | Tensor,
        seed: int = 0,
        pitch: float | None = None,
        talker: ArrayLike | Tensor | None = None,
    ) -> ConverterStream:
        """A live change of voice into ``timbre`` (256,): samples in, samples out.

        What is known of who is talking spares the first phrase a guess: ``pitch``, how high, in Hz
        (median; a melody is then moved by the same interval throughout), or ``talker``, an enrolled
        voice (256,)."""
        return ConverterStream(self, timbre, seed, pitch, talker)

    def tensor_codes(self, codes: ArrayLike | Tensor) -> Tensor:
        """Checked codes (K, n) -> (1, 6, n) for the model, layers left out marked absent."""
        need_model("the codes were", model_of(codes), self.identity, DECODE)
        checked = torch.from_numpy(np.ascontiguousarray(check_codes(_array(codes))))
        filled = torch.full((1, CODE_LAYERS, checked.shape[1]), ABSENT, dtype=torch.long)
        filled[0, : checked.shape[0]] = checked
        return filled.to(self.device)

    def tensor_timbre(self, timbre: ArrayLike | Tensor) -> Tensor:
        """Checked timbre (256,) -> (1, 256) for the model."""
        array = self.check_voice(timbre)
        return torch.from_numpy(array.copy()).unsqueeze(0).to(self.device)

    def check_voice(self, timbre: ArrayLike | Tensor) -> Timbre:
        """Checked timbre (256,) of this model, as a plain array. Raises ValueError."""
        need_model("the voice was", model_of(timbre), self.identity, AGAIN)
        return check_timbre(timbre)

    def _own(self, array: Array) -> Array:
        return belonging(array, self.identity)

    def _audio(self, audio: ArrayLike | Tensor) -> Tensor:
        samples = as_samples(audio)
        if not len(samples):
            raise ValueError("audio is empty: wanted at least one sample")
        padded = np.pad(samples, (0, -len(samples) % HOP))
        return torch.from_numpy(padded).unsqueeze(0).to(self.device)


class EncoderStream:
    """Audio in, codes out, for any chunk lengths; the same codes as :meth:`Codec.encode`."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.reset()

    def reset(self) -> None:
        """Forget everything heard."""
        self._waiting: Audio = np.zeros(0, dtype=np.float32)
        self._state: State = self._codec.steps.encoder_state(1)

    @torch.inference_mode()
    def push(self, samples: ArrayLike | Tensor) -> Codes:
        """samples (n,), n >= 0 -> codes (6, m) of the frames that became complete."""
        heard = np.concatenate((self._waiting, as_samples(samples)))
        whole = len(heard) // HOP * HOP
        self._waiting = heard[whole:].copy()
        if not whole:
            return np.zeros((CODE_LAYERS, 0), dtype=np.int64)
        audio = torch.from_numpy(heard[:whole]).unsqueeze(0).to(self._codec.device)
        codes, self._state = self._codec.steps.encoder_step(audio, self._state)
        return belonging(as_numpy(codes[0]), self._codec.identity)

    @property
    def wanted(self) -> int:
        """Samples, 1..200, until the next frame is complete."""
        return HOP - len(self._waiting)

    @torch.inference_mode()
    def flush(self) -> Codes:
        """End of the input: the frames (6, m) still owed, the last filled up with silence."""
        rest = np.zeros(-len(self._waiting) % HOP, dtype=np.float32)
        last = self.push(rest)
        owed = as_numpy(self._codec.steps.encoder_flush(self._state)[0])
        return belonging(np.concatenate((last, owed), axis=1), self._codec.identity)

    @property
    @torch.inference_mode()
    def timbre(self) -> Timbre | None:
        """Running estimate (256,) of the talker's timbre, None while there is nothing to tell."""
        timbre = self._codec.steps.encoder_timbre(self._state)
        return None if timbre is None else belonging(as_numpy(timbre[0]), self._codec.identity)

    def snapshot(self) -> Any:
        """A value that :meth:`restore` continues from, bit for bit."""
        return self._waiting.copy(), self._state

    def restore(self, snapshot: Any) -> None:
        """Continue from what :meth:`snapshot` gave, of this or another stream of the codec."""
        waiting, self._state = snapshot
        self._waiting = waiting.copy()


class DecoderStream:
    """Codes in, audio out; the same audio as :meth:`Codec.decode` while the timbre stays."""

    def __init__(self, codec: Codec, timbre: ArrayLike | Tensor, seed: int = 0) -> None:
        self._codec, self._seed = codec, seed
        self.timbre = timbre
        self.reset()

    def reset(self) -> None:
        """Forget everything decoded; the timbre stays."""
        self._state: State = self._codec.steps.decoder_state(1, self._seed)
        self._loudness = Loudness()

    @property
    def timbre(self) -> Timbre:
        """The voice (256,) it speaks with; set another at any time."""
        return as_numpy(self._timbre[0])

    @timbre.setter
    def timbre(self, timbre: ArrayLike | Tensor) -> None:
        self._timbre = self._codec.tensor_timbre(timbre)

    @torch.inference_mode()
    def push(self, codes: ArrayLike | Tensor) -> Audio:
        """codes (K, n), K = 3..6, n >= 0 -> the samples (200 m,) that became complete."""
        prepared = self._codec.tensor_codes(codes)
        if prepared.shape[2] == 0:
            return np.zeros(0, dtype=np.float32)
        step = self._codec.steps.decoder_step
        audio, self._state = step(prepared, self._timbre, self._state)
        spoken = cast(Audio, as_numpy(audio[0]))
        if self._codec.says_level:
            spoken, self._loudness = self._loudness.step(as_numpy(prepared[0]), spoken)
        return spoken

    @torch.inference_mode()
    def skip(self, codes: ArrayLike | Tensor) -> None:
        """Go past the first frames (K, n) of a stream, unheard and in no time. The
        sound of what follows is as it would have been from where :meth:`Codec.forgets` holds for
        the frames pushed since; until there it is not to be used. Raises ValueError for a model
        that cannot."""
        model, prepared = self._codec.model, self._codec.tensor_codes(codes)
        if model.decoder_memory is None:
            raise ValueError(f"frames of model {self._codec.name} cannot be skipped")
        if isinstance(model, LiveModel) and prepared.shape[2]:
            pitch = pitch_hertz(split(prepared[:, 0])[0])
            synthesis = model.synthesizer.gone_by(pitch, self._state.synthesis)
            self._state = replace(self._state, synthesis=synthesis)

    @torch.inference_mode()
    def flush(self) -> Audio:
        """End of the codes: the samples (200 m,) still owed."""
        audio = self._codec.steps.decoder_flush(self._timbre, self._state)
        return self._loudness.last(cast(Audio, as_numpy(audio[0])))

    def snapshot(self) -> Any:
        """A value that :meth:`restore` continues from, bit for bit."""
        return self._timbre.clone(), self._state, self._loudness

    def restore(self, snapshot: Any) -> None:
        """Continue from what :meth:`snapshot` gave, of this or another stream of the codec."""
        timbre, self._state, self._loudness = snapshot
        self._timbre = timbre.clone()


class ConverterStream:
    """Audio in, audio in another voice out: encoder, what conversion does to codes, decoder.

    The result does not depend on how the input was cut.
    """

    def __init__(
        self,
        codec: Codec,
        timbre: ArrayLike | Tensor,
        seed: int = 0,
        pitch: float | None = None,
        talker: ArrayLike | Tensor | None = None,
    ) -> None:
        self._codec = codec
        self._encoder = codec.encoder_stream()
        self._decoder = codec.decoder_stream(timbre, seed)
        known = None if talker is None else codec.check_voice(talker)
        target = codec.check_voice(timbre)
        self._voice = ConvertedVoice(codec.convert_timbre, target, pitch, known)

    @property
    def timbre(self) -> Timbre:
        """The target voice (256,); set another at any time."""
        return self._voice.target

    @timbre.setter
    def timbre(self, timbre: ArrayLike | Tensor) -> None:
        self._voice.aim(self._codec.check_voice(timbre))

    def push(self, samples: ArrayLike | Tensor) -> Audio:
        """samples (n,), n >= 0 -> the samples (200 m,) that became complete."""
        return self._speak(self.push_frames(samples))

    def push_frames(self, samples: ArrayLike | Tensor) -> list[Frames]:
        """samples (n,) -> the frames that became complete, converted: codes (3, m) with the
        timbre to decode them with, a new entry wherever that changes."""
        heard = as_samples(samples)
        cuts: Iterable[int] = ()
        if self._codec.model.follows_source:  # what is known of the source must not run ahead
            cuts = range(self._encoder.wanted, len(heard), HOP)
        return self._converted(map(self._encoder.push, np.split(heard, list(cuts))))

    def flush_frames(self) -> list[Frames]:
        """The converted frames still owed when the input has ended."""
        return self._converted([self._encoder.flush()])

    def flush(self) -> Audio:
        """End of the input: the samples still owed."""
        last = self._speak(self.flush_frames())
        return np.concatenate((last, self._decoder.flush()))

    def _converted(self, heard: Iterable[Codes]) -> list[Frames]:
        runs: list[tuple[Timbre, list[Codes]]] = []
        for codes in heard:
            if not codes.shape[1]:
                continue
            voice = self._voice
            look = self._codec.model.follows_source and voice.is_time_to_look
            voice.follow(self._encoder.timbre if look else None, codes.shape[1])
            if not runs or runs[-1][0] is not voice.vector:
                runs.append((voice.vector, []))
            for part, source in voice.sources(codes):
                runs[-1][1].append(self._codec.convert_codes(part, source, voice.target))
        return [Frames(np.concatenate(parts, axis=1), timbre) for timbre, parts in runs]

    def _speak(self, converted: list[Frames]) -> Audio:
        parts = [np.zeros(0, np.float32)]
        for frames in converted:
            self._decoder.timbre = frames.timbre
            parts.append(self._decoder.push(frames.codes))
        return np.concatenate(parts)


def check_timbre(timbre: ArrayLike | Tensor) -> Timbre:
    """Checked timbre (256,) as float32: finite and not absurd; else a ValueError."""
    array = np.asarray(_array(timbre), dtype=np.float32)
    if array.shape != (TIMBRE_DIM,):
        raise ValueError(f"timbre of shape {array.shape}: wanted ({TIMBRE_DIM},)")
    largest = float(np.abs(array).max())
    if not largest <= LARGEST_TIMBRE:
        raise ValueError(
            f"timbre reaches {largest:g}: wanted finite numbers up to {LARGEST_TIMBRE:g}"
        )
    return array


def as_samples(audio: ArrayLike | Tensor) -> Audio:
    """Checked audio as float32 (n,): mono, finite, about full scale 1; else a ValueError."""
    array = _array(audio)
    if array.ndim != 1:
        raise ValueError(f"audio of shape {array.shape}: wanted one channel, (samples,)")
    if not np.issubdtype(array.dtype, np.floating):
        if array.size == 0:
            return np.zeros(0, dtype=np.float32)
        raise ValueError(f"audio of type {array.dtype}: wanted floats of full scale 1.0")
    samples = array.astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise ValueError("audio holds NaN or infinity: wanted finite samples")
    if samples.size and float(np.abs(samples).max()) > LOUDEST:
        raise ValueError(f"audio reaches {float(np.abs(samples).max()):.4g}: wanted full scale 1.0")
    return samples


def _array(values: ArrayLike | Tensor) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
