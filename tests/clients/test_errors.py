"""Tests of clients.errors: advice fits the command."""

from __future__ import annotations

from argparse import Namespace

import pytest

from clients.errors import ClientError, ConnectionLost, ServerError, ServerUnreachable, advice

NOBODY = ServerUnreachable("nobody", none_there=True)
LOST = ConnectionLost("lost")
NO_TOKEN = ServerError("unauthorized", "expected a token, got none")


@pytest.mark.parametrize(
    ("error", "options", "word"),
    [
        (NOBODY, Namespace(serve=False), "--serve"),
        (NOBODY, Namespace(), ""),
        (LOST, Namespace(reconnect=False), "--reconnect"),
        (LOST, Namespace(reconnect=True), ""),
        (LOST, Namespace(), ""),
        (NO_TOKEN, Namespace(), "$FACODEC_TOKEN"),
        (ServerError("bad-field", "no"), Namespace(), ""),
    ],
)
def test_advice_names_what_would_help(error: ClientError, options: Namespace, word: str) -> None:
    assert word in advice(error, options) and bool(word) == bool(advice(error, options))
