"""A codec, and streams of it that take any chunk length: the face for users.

Arrays go in as numpy or tensors and come out as numpy: audio and timbre float32, codes int64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from facodec.arrays import Audio, Codes, Timbre, as_samples
from facodec.bundled.loudness import Loudness, forgets_level
from facodec.bundled.model import LiveModel
from facodec.config import HOP, MIN_LAYERS, SAMPLE_RATE, Latency
from facodec.identity import ModelIdentity
from facodec.inputs import Inputs
from facodec.link.entropy import FrameCoder, load_tables
from facodec.model import CodecModel, Steps
from facodec.streams.batching import Work, run_alone
from facodec.streams.conversion import octaves_of
from facodec.streams.converter import Conversion, Converted, ConverterLine
from facodec.streams.lanes import Lanes, as_numpy
from facodec.streams.lines import DecoderLine, EncoderLine
from facodec.weights.hashing import identity_of
from facodec.weights.speakers import load_speakers


@dataclass(frozen=True)
class Frames:
    """codes (6, T), timbre (256,); both carry the model's identity, see
    :class:`facodec.identity.ModelArray`."""

    codes: Codes
    timbre: Timbre


class Codec(Inputs):
    """A model behind a plain interface. Offline calls here; streams from the ``*_stream`` methods.

    ``backend``: of its streams, as :meth:`facodec.model.CodecModel.steps` takes it.
    ``identity``: where it was worked out before. ``folder``: of the weights.

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
        folder: Path | None = None,
    ) -> None:
        self.model, self._backend, self._folder = model, backend, folder
        if identity is not None:
            self.identity = identity
        self.speakers = None if folder is None else load_speakers(folder, self.identity)
        """Distribution of real speakers' timbres; None where the weights do not say."""
        self.voices = {name: self._own(voice) for name, voice in (voices or {}).items()}
        """Timbres (256,) that come with the weights, by name."""
        module = cast(nn.Module, model)
        module.eval().requires_grad_(False)
        self.device = next(module.parameters()).device

    @cached_property
    def identity(self) -> ModelIdentity:
        """Model that its codes and timbres belong to, with the weights it has when this is first
        asked for."""
        return identity_of(cast(nn.Module, self.model))

    @cached_property
    def coder(self) -> FrameCoder:
        """Makes packets of its codes smaller, where there are tables beside the weights."""
        return FrameCoder(load_tables(self._folder, self.identity) if self._folder else None)

    @cached_property
    def steps(self) -> Steps:
        """Steps that streams run, with the weights the model has when this is first asked for."""
        return self.model.steps(self._backend)

    @cached_property
    def lanes(self) -> Lanes:
        """Streams that are stepped in batches, where there are many."""
        return Lanes(self.model, self.steps, self.device)

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def backend(self) -> str:
        """Backend of its streams, as :func:`facodec.load` names it; as it was asked for, maybe
        ``auto``, until :attr:`steps` have been made."""
        steps = self.__dict__.get("steps")  # reading a backend compiles nothing
        return self._backend if steps is None else steps.backend

    @property
    def says_level(self) -> bool:
        """Whether its prosody codes say the level, see :mod:`facodec.bundled.loudness`."""
        return self.model.says_level

    @property
    def latency(self) -> Latency:
        """Algorithmic delay in samples."""
        return self.model.latency

    def forgets(self, codes: Codes) -> bool:
        """Whether a decoder that has heard just these frames (K, n) speaks what follows, but for
        rounding, as if it had heard those before them too: see :meth:`DecoderStream.skip`. Those
        before them and what follows have as many codes a frame."""
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
        where the bundled model hears no speech; its level does not matter to that."""
        heard = self._reference(audio) if self.says_level else self._audio(audio)
        return self._own(as_numpy(self.model.voice(heard)))

    def anonymous_voice(
        self, talker: ArrayLike | Tensor | None = None, seed: int | None = None
    ) -> Timbre:
        """A fresh voice (256,) of nobody: like a person's, unlike all that are known, and far from
        that of the ``talker`` (256,) to be hidden, where he is known. ``seed``: the same voice
        again. A ValueError for weights without a distribution of speakers."""
        if self.speakers is None:
            raise ValueError(
                f"the weights of model {self.identity} tell of no speakers to draw an anonymous "
                "voice from: facodec train --export DIR --data SPEECH adds them"
            )
        known = None if talker is None else self.check_voice(talker)
        rng = np.random.default_rng(seed)
        return self._own(self.speakers.draw(rng, list(self.voices.values()), known))

    @torch.inference_mode()
    def talkers_alike(self, audio: ArrayLike | Tensor) -> float | None:
        """Likeness of the voices of the parts of audio (N,), a cosine, see
        :mod:`facodec.bundled.several_talkers`: below its ``SEVERAL`` there are several people.
        None where there is too little talk, and for models that this was not calibrated for."""
        from facodec.bundled.several_talkers import talkers_alike

        model = self.model
        if not isinstance(model, LiveModel):
            return None
        return talkers_alike(model, self._reference(audio))

    def convert(
        self,
        audio: ArrayLike | Tensor,
        timbre: ArrayLike | Tensor,
        seed: int = 0,
        pitch: float | None = None,
        talker: ArrayLike | Tensor | None = None,
        steer: bool = True,
    ) -> Audio:
        """audio (N,) spoken with the voice ``timbre`` (256,): what a converter stream gives,
        (200 T,) samples."""
        stream = self.converter_stream(timbre, seed, pitch, talker, steer)
        samples = as_samples(audio)
        if not len(samples):
            raise ValueError("expected at least one sample of audio, got none")
        return np.concatenate((stream.push(samples), stream.flush()))

    @torch.inference_mode()
    def convert_codes(
        self, codes: ArrayLike | Tensor, source: ArrayLike | Tensor | None, target: ArrayLike
    ) -> Codes:
        """Converts into ``target`` (256,) codes (K, n) spoken with timbre ``source`` (256,), None
        where unknown: codes (3, n), the detail left out, to be decoded with what
        :meth:`convert_timbre` gives."""
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
        steer: bool = True,
    ) -> ConverterStream:
        """A live change of voice into ``timbre`` (256,): samples in, samples out.

        What is known of who is talking spares the first phrase a guess: ``pitch``, how high, in Hz
        (median; a melody is then moved by the same interval throughout), or ``talker``, an enrolled
        voice (256,). ``steer``: push the timbre away from the talker's, see :meth:`convert_timbre`;
        without it what goes with the frames is the target, which tells nothing of him."""
        return ConverterStream(self, timbre, seed, pitch, talker, steer)


class EncoderStream:
    """Audio in, codes out, for any chunk lengths; the same codes as :meth:`Codec.encode`."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.reset()

    def reset(self) -> None:
        """Forget everything heard."""
        self._line = EncoderLine(self._codec.lanes, alone=True)

    def push(self, samples: ArrayLike | Tensor) -> Codes:
        """samples (n,), n >= 0 -> codes (6, m) of the frames that became complete."""
        return self._codec._own(run_alone(self._line.push(as_samples(samples))))

    @property
    def wanted(self) -> int:
        """Samples, 1..200, until the next frame is complete."""
        return self._line.wanted

    def flush(self) -> Codes:
        """End of the input: the frames (6, m) still owed, the last filled up with silence."""
        return self._codec._own(run_alone(self._line.flush()))

    @property
    def timbre(self) -> Timbre | None:
        """Running estimate (256,) of the talker's timbre, None while there is nothing to tell."""
        timbre = run_alone(self._line.timbre())
        return None if timbre is None else self._codec._own(timbre)

    def snapshot(self) -> Any:
        """A value that :meth:`restore` continues from, bit for bit."""
        return self._line.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Continue from what :meth:`snapshot` gave, of this or another stream of the codec."""
        self._line.restore(snapshot)


class DecoderStream:
    """Codes in, audio out; the same audio as :meth:`Codec.decode` while the timbre stays."""

    def __init__(self, codec: Codec, timbre: ArrayLike | Tensor, seed: int = 0) -> None:
        self._codec, self._seed = codec, seed
        self.timbre = timbre
        self.reset()

    def reset(self) -> None:
        """Forget everything decoded; the timbre stays."""
        self._line = DecoderLine(self._codec.lanes, self._seed, alone=True)

    @property
    def timbre(self) -> Timbre:
        """The voice (256,) it speaks with; set another at any time."""
        return self._timbre

    @timbre.setter
    def timbre(self, timbre: ArrayLike | Tensor) -> None:
        self._timbre: Timbre = self._codec.check_voice(timbre).copy()

    def push(self, codes: ArrayLike | Tensor) -> Audio:
        """codes (K, n), K = 3..6, n >= 0 -> the samples (200 m,) that became complete."""
        return run_alone(self._line.push(self._codec.check_codes(codes), self._timbre))

    def skip(self, codes: ArrayLike | Tensor) -> None:
        """Go past the first frames (K, n) of a stream, unheard and in no time. The
        sound of what follows is as it would have been from where :meth:`Codec.forgets` holds for
        the frames pushed since; until there it is not to be used. Raises ValueError for a model
        that cannot."""
        if self._codec.model.decoder_memory is None:
            raise ValueError(f"frames of model {self._codec.name} cannot be skipped")
        self._line.skip(self._codec.check_codes(codes))

    def flush(self) -> Audio:
        """End of the codes: the samples (200 m,) still owed."""
        return run_alone(self._line.flush(self._timbre))

    def snapshot(self) -> Any:
        """A value that :meth:`restore` continues from, bit for bit."""
        return self._timbre, self._line.snapshot()

    def restore(self, snapshot: Any) -> None:
        """Continue from what :meth:`snapshot` gave, of this or another stream of the codec."""
        self._timbre, line = snapshot
        self._line.restore(line)


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
        steer: bool = True,
    ) -> None:
        self._codec = codec
        known = None if talker is None else codec.check_voice(talker)
        if pitch is not None:
            octaves_of(pitch)  # refuses what is no pitch, for models that need none too
        target = codec.check_voice(timbre)
        self._conversion = Conversion(codec.lanes, target, pitch, known, steer)
        self._line = ConverterLine(codec.lanes, self._conversion, alone=True)
        self._decoder = DecoderLine(codec.lanes, seed, alone=True)
        self._spoken_in = target

    @property
    def timbre(self) -> Timbre:
        """The target voice (256,); set another at any time."""
        return self._conversion.target

    @timbre.setter
    def timbre(self, timbre: ArrayLike | Tensor) -> None:
        self._conversion.aim(self._codec.check_voice(timbre))

    def push(self, samples: ArrayLike | Tensor) -> Audio:
        """samples (n,), n >= 0 -> the samples (200 m,) that became complete."""
        return self._speak(self._line.push(as_samples(samples)))

    def push_frames(self, samples: ArrayLike | Tensor) -> list[Frames]:
        """samples (n,) -> the frames that became complete, converted: codes (3, m) with the
        timbre to decode them with, a new entry wherever that changes."""
        return self._frames(self._line.push(as_samples(samples)))

    def flush_frames(self) -> list[Frames]:
        """The converted frames still owed when the input has ended."""
        return self._frames(self._line.flush())

    def flush(self) -> Audio:
        """End of the input: the samples still owed."""
        last = self._speak(self._line.flush())
        return np.concatenate((last, run_alone(self._decoder.flush(self._spoken_in))))

    def _frames(self, work: Work[list[Converted]]) -> list[Frames]:
        own = self._codec._own
        return [Frames(own(part.codes), own(part.vector)) for part in run_alone(work)]

    def _speak(self, work: Work[list[Converted]]) -> Audio:
        parts = [np.zeros(0, np.float32)]
        for part in run_alone(work):
            self._spoken_in = part.vector
            parts.append(run_alone(self._decoder.push(part.codes, part.vector)))
        return np.concatenate(parts)
