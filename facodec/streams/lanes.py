"""Many streams of one codec, stepped in batches: the results are those of each stream alone.

Arrays are numpy in and out, a row a stream. A lane is one direction of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facodec.config import HOP
from facodec.model import CodecModel, State, Steps, StepsInPlace
from facodec.states import state_bytes
from facodec.streams.arena import Arena, Slot

Audio = NDArray[np.float32]
Codes = NDArray[np.int64]
Timbres = NDArray[np.float32]


class Lanes:
    """The lanes of all streams of a model. May be used from several threads, each lane by one.

    ``size`` of a step: the batch to run it at, at least the number of lanes; the rest idles. Steps
    of exact sizes take any number as it is.
    """

    def __init__(self, model: CodecModel, steps: Steps, device: torch.device) -> None:
        self._model, self._steps, self._device = model, steps, device
        self._in_place = steps.in_place
        self.hops = steps.hops
        """Frames to step a stream by, the most first, see :attr:`facodec.model.Steps.hops`."""
        self.latency = model.latency
        self.follows_source, self.says_level = model.follows_source, model.says_level
        self._encoders, self._decoders = Arena(), Arena()

    @property
    def bytes(self) -> int:
        """Memory allocated for the states of streams now."""
        return self._encoders.bytes + self._decoders.bytes

    def stream_bytes(self, encoder: Slot, decoder: Slot) -> int:
        """Bytes of the states of one stream, as they are now."""
        states = self._encoders.gather([encoder], 1), self._decoders.gather([decoder], 1)
        return sum(map(state_bytes, states))

    @torch.inference_mode()
    def open_encoder(self) -> Slot:
        return self._encoders.open(self._steps.encoder_state(1))

    @torch.inference_mode()
    def open_decoder(self, seed: int = 0) -> Slot:
        return self._decoders.open(self._steps.decoder_state(1, seed))

    @torch.inference_mode()
    def read_encoder(self, lane: Slot) -> State:
        """State of an encoder as a value."""
        return self._encoders.read(lane)

    @torch.inference_mode()
    def write_encoder(self, lane: Slot, state: State) -> None:
        """Lets an encoder go on from what :meth:`read_encoder` gave."""
        self._encoders.put([lane], state)

    @torch.inference_mode()
    def read_decoder(self, lane: Slot) -> State:
        """State of a decoder as a value."""
        return self._decoders.read(lane)

    @torch.inference_mode()
    def write_decoder(self, lane: Slot, state: State) -> None:
        """Lets a decoder go on from what :meth:`read_decoder` gave."""
        self._decoders.put([lane], state)

    @torch.inference_mode()
    def encode(self, lanes: Sequence[Slot], audio: Audio, size: int) -> Codes:
        """audio (N, 200 n) -> codes (N, 6, m), for lanes in one phase."""
        size = self._size(lanes, size)
        heard = self._batch(audio, size)
        in_place = self._stepping_in_place(audio.shape[1] // HOP, size)
        if in_place is not None:
            with self._encoders.rows(lanes, size) as (states, rows):
                codes = in_place.encoder_step_in_place(heard, states, rows)
        else:
            state = self._encoders.gather(lanes, size)
            codes, after = self._steps.encoder_step(heard, state)
            self._encoders.put(lanes, after)
        return as_numpy(codes)[: len(lanes)]

    @torch.inference_mode()
    def flush_encoder(self, lane: Slot) -> Codes:
        """The frames (6, m) that an encoder still owes."""
        return as_numpy(self._steps.encoder_flush(self._encoders.gather([lane], 1))[0])

    @torch.inference_mode()
    def timbres(self, lanes: Sequence[Slot]) -> list[Timbres | None]:
        """The running estimate (256,) of each encoder, for lanes in one phase."""
        if self._in_place is not None:
            with self._encoders.rows(lanes, len(lanes)) as (states, rows):
                return list(as_numpy(self._in_place.encoder_timbres(states, rows)))
        state = self._encoders.gather(lanes, len(lanes))
        timbres = self._steps.encoder_timbre(state)
        if timbres is not None:
            return list(as_numpy(timbres))
        # Somebody has not been heard for long enough yet.
        if len(lanes) == 1:
            return [None]
        return [self.timbres([lane])[0] for lane in lanes]

    @torch.inference_mode()
    def decode(self, lanes: Sequence[Slot], codes: Codes, timbres: Timbres, size: int) -> Audio:
        """codes (N, 6, n), absent ones -1, timbres (N, 256) -> audio (N, 200 m), for lanes in one
        phase."""
        size = self._size(lanes, size)
        said, voices = self._batch(codes, size), self._batch(timbres, size)
        in_place = self._stepping_in_place(codes.shape[2], size)
        audio = None
        if in_place is not None:
            with self._decoders.rows(lanes, size) as (states, rows):
                audio = in_place.decoder_step_in_place(said, voices, states, rows)
        if audio is None:
            state = self._decoders.gather(lanes, size)
            audio, after = self._steps.decoder_step(said, voices, state)
            self._decoders.put(lanes, after)
        return cast(Audio, as_numpy(audio)[: len(lanes)])

    @torch.inference_mode()
    def skip(self, lane: Slot, codes: Codes) -> None:
        """Lets a decoder go past codes (6, n), n > 0, of its beginning unheard, see
        :meth:`facodec.model.Steps.decoder_skip`."""
        state = self._decoders.gather([lane], 1)
        after = self._steps.decoder_skip(self._batch(codes[None], 1), state)
        self._decoders.put([lane], after)

    @torch.inference_mode()
    def flush_decoder(self, lane: Slot, timbre: Timbres) -> Audio:
        """The samples (200 m,) that a decoder still owes."""
        state = self._decoders.gather([lane], 1)
        audio = self._steps.decoder_flush(self._batch(timbre[None], 1), state)
        return cast(Audio, as_numpy(audio[0]))

    @torch.inference_mode()
    def convert(self, codes: Codes, sources: Timbres | None, targets: Timbres) -> Codes:
        """Converts codes (N, 6, n) spoken with ``sources`` (N, 256)."""
        known = None if sources is None else self._batch(sources, len(sources))
        there = self._batch(targets, len(targets))
        return as_numpy(self._model.convert_codes(self._batch(codes, len(codes)), known, there))

    @torch.inference_mode()
    def steer(self, source: Timbres | None, target: Timbres) -> Timbres:
        """The timbre (256,) to decode codes with that were converted from ``source`` (256,), None
        where unknown, to ``target`` (256,)."""
        known = None if source is None else self._batch(source[None], 1)
        steered = self._model.convert_timbre(known, self._batch(target[None], 1))
        return cast(Timbres, as_numpy(steered[0]))

    def _size(self, lanes: Sequence[Slot], wanted: int) -> int:
        return len(lanes) if self._steps.exact_sizes else wanted

    def _stepping_in_place(self, frames: int, size: int) -> StepsInPlace | None:
        """Steps on the rows of the states themselves; None where copies of rows are to be made."""
        steps = self._in_place
        return steps if steps is not None and frames == 1 and size >= steps.fewest else None

    def _batch(self, rows: NDArray[Any], size: int) -> Tensor:
        """The rows on the device, filled up with idle ones, zeros."""
        if size > len(rows):
            idle = np.zeros((size - len(rows), *rows.shape[1:]), rows.dtype)
            rows = np.concatenate((rows, idle))
        batch = torch.from_numpy(rows)
        return batch if self._device.type == "cpu" else batch.to(self._device)


def prepare_thread() -> None:
    """Settings of a model thread: one hop is too little work to share between cores, and the
    other cores are for the event loop and for other streams."""
    torch.set_num_threads(1)


def as_numpy(tensor: Tensor) -> NDArray[Any]:
    """Returns the numbers as an array, one after the other."""
    # Even where it does nothing, .cpu() lets other threads run Python, and waits for them.
    here = tensor if tensor.device.type == "cpu" else tensor.cpu()
    return np.ascontiguousarray(here.numpy())
