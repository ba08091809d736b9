"""Whether what a client sends, or is to hear, belongs to the model of its session."""

from __future__ import annotations

from facodec.identity import AGAIN, ModelIdentity, ModelMismatch, need_model
from streaming.wire.protocol import Hello, ProtocolError, Voice

BOTH_ENDS = "load the same model at both ends (--model)"


def need_own(what: str, theirs: ModelIdentity | None, ours: ModelIdentity, advice: str) -> None:
    """Raises ProtocolError("model-mismatch") like :func:`facodec.identity.need_model`."""
    try:
        need_model(what, theirs, ours, advice)
    except ModelMismatch as error:
        raise ProtocolError("model-mismatch", str(error)) from error


def need_own_hello(hello: Hello, ours: ModelIdentity) -> None:
    """Raises ProtocolError where a hello's codes or voice are not those of the session's model."""
    theirs = _parsed(hello.identity)
    if hello.role == "subscribe":
        if theirs is not None and hello.formats()[1] == "codes":
            need_own("the codes in this room were", ours, theirs, BOTH_ENDS)
    elif "codes" in hello.formats():
        need_own("the codes of this client were", theirs, ours, BOTH_ENDS)
    else:
        need_own("the voice was", theirs, ours, AGAIN)


def need_own_voice(voice: Voice, ours: ModelIdentity | None) -> None:
    """Raises ProtocolError where a voice is not of the session's model."""
    if ours is not None:
        need_own("the voice was", _parsed(voice.identity), ours, AGAIN)


def _parsed(identity: str | None) -> ModelIdentity | None:
    return None if identity is None else ModelIdentity.parse(identity)
