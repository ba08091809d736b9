"""Lines: one definition of a stream, whether it runs alone or shares its steps."""

from __future__ import annotations

import numpy as np
import pytest

from facodec.codec import Codec
from facodec.config import HOP
from facodec.streams.batching import Aside, Work, run_alone
from facodec.streams.lines import DecoderLine, EncoderLine
from tests.exactness import assert_equal_audio, assert_equal_numbers


def test_a_line_alone_and_one_that_shares_its_steps_give_the_same(
    live: Codec, hello: np.ndarray
) -> None:
    heard, voice = hello[4000 : 4000 + 13 * HOP + 70], live.voice(hello)
    found = []
    for alone in (True, False):
        encoder = EncoderLine(live.lanes, alone)
        decoder = DecoderLine(live.lanes, 3, alone)
        codes = np.concatenate([run_alone(encoder.push(heard)), run_alone(encoder.flush())], axis=1)
        timbre = run_alone(encoder.timbre())
        assert timbre is not None and codes.shape == (6, 14)
        spoken = run_alone(decoder.push(codes, voice))
        found.append((codes, timbre, np.append(spoken, run_alone(decoder.flush(voice)))))
    assert np.array_equal(found[0][0], found[1][0])
    assert_equal_numbers(found[0][1], found[1][1])
    assert_equal_audio(found[0][2], found[1][2])


def test_a_snapshot_stays_as_it_was_whatever_the_stream_does_in_place(
    live: Codec, hello: np.ndarray
) -> None:
    """Single hops may be computed in the very rows that a snapshot was taken of."""
    hops = hello[4000 : 4000 + 30 * HOP].reshape(30, HOP)
    voice = live.voice(hello)
    encoder, decoder = live.encoder_stream(), live.decoder_stream(voice)
    for hop in hops[:10]:
        decoder.push(encoder.push(hop))
    kept = encoder.snapshot(), decoder.snapshot()
    runs = []
    own, others = (encoder, decoder), (live.encoder_stream(), live.decoder_stream(voice))
    for encoding, decoding in (own, own, others):
        encoding.restore(kept[0])
        decoding.restore(kept[1])
        codes = [encoding.push(hop) for hop in hops[10:]]
        audio = np.concatenate([decoding.push(frame) for frame in codes])
        runs.append((np.concatenate(codes, axis=1), audio))
    for run in runs[1:]:
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(run, runs[0], strict=True))


def test_work_alone_is_told_of_what_fails() -> None:
    def work() -> Work[str]:
        try:
            yield Aside(lambda: int("x"))
        except ValueError:
            answer: str = yield Aside(lambda: "y")
            return answer
        return ""

    def careless() -> Work[None]:
        yield Aside(lambda: int("x"))

    assert run_alone(work()) == "y"
    with pytest.raises(ValueError, match="invalid literal"):
        run_alone(careless())
