"""TLS: built in, and before a proxy that the documentation has the recipe for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from clients.errors import NotAuthorized, ServerUnreachable, UsageError
from clients.library.connection import connect
from facodec.codec import Codec
from facodec.reasons import FileError
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from streaming.server.tls import fingerprint, own_certificate, own_names, server_context
from streaming.wire.protocol import Hello

ROOT = Path(__file__).parents[2]
DEPLOYING = ROOT / "docs" / "deploying.md"
PATIENCE = 120.0


def tool(name: str) -> str:
    """Path of a program; the test is skipped where it is missing, unless nothing may be."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        if os.environ.get("FACODEC_TESTS_REQUIRE_ALL"):
            pytest.fail(f"{name} is missing")
        pytest.skip(f"no {name} here")
    return found


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Certificate and key for 127.0.0.1, localhost and codec.example.org."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(
        [tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=codec.example.org", "-keyout", key, "-out", cert, "-addext",
         "subjectAltName=DNS:codec.example.org,DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


async def echo(url: str, samples: np.ndarray, **options: Any) -> int:
    """Samples that come back."""
    async with connect(url, role="loopback", **options) as session:
        await session.send_audio(samples)
        await session.finish(PATIENCE)
        return sum([len(packet.samples) async for packet in session])  # type: ignore[union-attr]


def test_a_certificate_of_our_own_is_made_once_and_fits(tmp_path: Path, untrained: Codec) -> None:
    tool("openssl")
    folder = tmp_path / "facodec"
    path = own_certificate(folder, ["localhost", "127.0.0.1", "::1"])
    assert path.stat().st_mode & 0o077 == 0 and [path] == list(folder.iterdir())
    before = fingerprint(path)
    assert re.fullmatch("([0-9A-F]{2}:){31}[0-9A-F]{2}", before)
    assert own_certificate(folder, ["localhost", "127.0.0.1", "::1"]) == path
    assert fingerprint(path) == before
    assert own_certificate(folder, ["localhost"]) != path
    assert {"localhost", "127.0.0.1"} <= set(own_names())

    async def scenario() -> None:
        settings = ServerSettings(port=0, max_sessions=4, tls_cert=str(path))
        async with Server(settings, {"live": untrained}) as server:
            assert await echo(server.url, np.zeros(400, np.float32), ca=str(path)) == 400

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


def test_wss(raw: Any, untrained: Codec, certificate: tuple[str, str]) -> None:
    cert, key = certificate
    settings = ServerSettings(
        port=0, max_sessions=4, tls_cert=cert, tls_key=key, tokens=("secret",)
    )
    samples = np.zeros(4000, np.float32)

    async def scenario() -> None:
        async with Server(settings, {"live": untrained}) as server:
            assert server.url.startswith("wss://127.0.0.1:")
            assert await echo(server.url, samples, ca=cert, token="secret") == len(samples)
            with pytest.raises(NotAuthorized):
                await echo(server.url, samples, ca=cert, token="guess")
            with pytest.raises(ServerUnreachable, match=r"prove that it is the right one.*--ca"):
                await echo(server.url, samples, token="secret")
            # A page that was not loaded over TLS is another origin.
            trusting = ssl.create_default_context(cafile=cert)
            bearer = {"Authorization": "Bearer secret"}
            for origin, admitted in [("https", True), ("http", False)]:
                page = server.url.replace("wss", origin)
                opening = raw.connect(
                    server.url, ssl=trusting, origin=page, additional_headers=bearer
                )
                refused = pytest.raises(InvalidStatus, match="403")
                with contextlib.nullcontext() if admitted else refused:
                    await (await opening).close()

    raw.run(scenario())


def test_connections_that_never_agree_on_tls_are_counted(
    raw: Any, untrained: Codec, certificate: tuple[str, str]
) -> None:
    cert, key = certificate
    settings = ServerSettings(
        port=0, max_sessions=4, tls_cert=cert, tls_key=key, address_connections=2
    )
    trusting = ssl.create_default_context(cafile=cert)

    async def status(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = await reader.read()
        writer.close()
        return said.split()[1]

    async def scenario() -> None:
        async with Server(settings, {"live": untrained}) as server:
            port = int(server.url.rpartition(":")[2])
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            assert await silent.pop()[0].read() == b""  # one too many has to ask in time
            assert await status(port) == b"429"
            for _, writer in silent:
                writer.write(b"nothing that TLS begins with\n")
            for reader, _ in silent:
                with contextlib.suppress(ConnectionResetError):
                    await reader.read()
            while await status(port) != b"200":
                pass

    raw.run(scenario())


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_a_client_that_does_not_wait_to_be_seen(
    name: str, untrained: Codec, certificate: tuple[str, str]
) -> None:
    cert, key = certificate
    run = pytest.importorskip(name).run
    settings = ServerSettings(port=0, max_sessions=4, tls_cert=cert, tls_key=key)
    first = ssl.MemoryBIO()
    trusting = ssl.create_default_context(cafile=cert)
    tls = trusting.wrap_bio(ssl.MemoryBIO(), first, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()

    async def scenario() -> None:
        async with Server(settings, {"live": untrained}) as server:
            # Both are there before the server, on this same loop, can look at the connection.
            client = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
            client.sendall(first.read())
            client.setblocking(False)
            with client:
                answer = await asyncio.get_running_loop().sock_recv(client, 6)
            version, hello = answer[:2], answer[5:]
            assert (version, hello) == (b"\x16\x03", b"\x02")

    run(asyncio.wait_for(scenario(), 5.0))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_used(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=str(path)):
        asyncio.run(echo("wss://127.0.0.1:1", np.zeros(200, np.float32), ca=str(path)))


def test_a_certificate_out_of_a_pipe_is_refused(tmp_path: Path) -> None:
    """A certificate is read more than once."""
    pipe = str(tmp_path / "pipe.pem")
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="pem is a pipe, not a file"):
        asyncio.run(echo("wss://127.0.0.1:1", np.zeros(200, np.float32), ca=pipe))
    with pytest.raises(FileError, match="pem is a pipe, not a file"):
        server_context(ServerSettings(tls_cert=pipe))


def test_a_token_that_cannot_travel_is_no_traceback() -> None:
    with pytest.raises(UsageError, match="expected a token of ASCII") as caught:
        asyncio.run(echo("ws://127.0.0.1:1", np.zeros(200, np.float32), token="ключ"))
    assert "ключ" not in str(caught.value)


def test_a_command_over_tls(
    tmp_path: Path, untrained: Codec, raw: Any, certificate: tuple[str, str]
) -> None:
    cert, key = certificate
    settings = ServerSettings(port=0, max_sessions=4, tls_cert=cert, tls_key=key)
    out = tmp_path / "out.wav"
    hello = ROOT / "tests" / "data" / "hello.flac"

    async def scenario() -> None:
        async with Server(settings, {"live": untrained}) as server:
            command = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "clients.cli", "talk", "--server", server.url, "--input",
                str(hello), "--output", str(out), "--fast", cwd=ROOT,
                env={**os.environ, "FACODEC_CA": cert},
            )  # fmt: skip
            assert await command.wait() == 0

    raw.run(scenario())
    assert out.stat().st_size > 1000


def recipe(name: str) -> str:
    """The configuration in the documentation for this proxy."""
    text = DEPLOYING.read_text()
    found = re.search(rf"^## {name}\b.*?```[a-z]*\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert found, f"no recipe for {name}"
    return found[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def adapted(name: str, *changes: tuple[str, str]) -> str:
    """The recipe with what names a machine's own addresses and files changed."""
    site = recipe(name)
    for there, here in changes:
        assert there in site
        site = site.replace(there, here)
    return site


def nginx(folder: Path, certificate: tuple[str, str], behind: str, port: int) -> list[str]:
    cert, key = certificate
    site = adapted(
        "nginx",
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/etc/ssl/codec.pem", cert),
        ("/etc/ssl/codec.key", key),
        ("127.0.0.1:8765", behind),
    )
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration, errors = folder / "nginx.conf", str(folder / "error.log")
    configuration.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {errors};\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}{site}\n}}\n"
    )
    return ["-p", str(folder), "-c", str(configuration), "-e", errors]


def caddy(folder: Path, certificate: tuple[str, str], behind: str, port: int) -> list[str]:
    cert, key = certificate
    site = adapted(
        "Caddy",
        (
            "codec.example.org {",
            f"codec.example.org:{port} {{\n    bind 127.0.0.1\n    tls {cert} {key}",
        ),
        ("127.0.0.1:8765", behind),
    )
    configuration = folder / "Caddyfile"
    options = "admin off", "auto_https disable_redirects", f"storage file_system {folder}"
    configuration.write_text("{\n" + "\n".join(options) + "\n}\n" + site)
    return ["run", "--config", str(configuration), "--adapter", "caddyfile"]


def haproxy(folder: Path, certificate: tuple[str, str], behind: str, port: int) -> list[str]:
    both = folder / "both.pem"
    both.write_text("".join(Path(part).read_text() for part in certificate))
    site = adapted(
        "HAProxy",
        ("bind :443", f"bind 127.0.0.1:{port}"),
        ("/etc/haproxy/codec.pem", str(both)),
        ("127.0.0.1:8765", behind),
    )
    configuration = folder / "haproxy.cfg"
    configuration.write_text(site)
    return ["-db", "-f", str(configuration)]


@contextlib.contextmanager
def proxy(
    make: Callable[..., list[str]], folder: Path, certificate: tuple[str, str], behind: str
) -> Iterator[int]:
    """A proxy with the documentation's recipe, for the server at the URL ``behind``; its port."""
    port = free_port()
    arguments = make(folder, certificate, behind.removeprefix("ws://"), port)
    process = subprocess.Popen(
        [tool(make.__name__), *arguments],
        env={**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE)


@contextlib.asynccontextmanager
async def opened(raw: Any, port: int, cert: str, **options: Any) -> AsyncIterator[Any]:
    """A WebSocket through the proxy, as soon as that listens."""
    context = ssl.create_default_context(cafile=cert)
    while True:
        try:
            async with raw.connect(
                "wss://codec.example.org",
                host="127.0.0.1",
                port=port,
                ssl=context,
                local_addr=("127.0.0.2", 0),  # another address than the proxy's
                **options,
            ) as socket:
                yield socket
                return
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("make", [nginx, caddy, haproxy])
def test_behind_a_proxy(
    raw: Any,
    untrained: Codec,
    certificate: tuple[str, str],
    tmp_path: Path,
    make: Callable[..., list[str]],
) -> None:
    if make is caddy and shutil.which("caddy") is None:
        pytest.skip("no caddy here")  # too large to be required
    tool(make.__name__)
    settings = ServerSettings(
        port=0,
        max_sessions=8,
        allow_hosts=("codec.example.org",),
        trusted_proxies=("127.0.0.1",),
        address_sessions=1,
    )

    async def scenario() -> None:
        async with Server(settings, {"live": untrained}) as server:
            with proxy(make, tmp_path, certificate, server.url) as port:
                page = {"origin": "https://codec.example.org"}
                async with opened(raw, port, certificate[0], **page) as socket:
                    client = raw.client(socket)
                    await client.send(Hello("loopback"), *raw.audio(np.zeros(4000, np.float32)))
                    assert socket.subprotocol == "facodec.v1"
                    await client.settle()
                    # What the client says of itself does not count: it is the same address.
                    spoofed = {"additional_headers": {"X-Forwarded-For": "192.0.2.9"}}
                    async with opened(raw, port, certificate[0], **spoofed) as second:
                        other = raw.client(second)
                        await other.send(Hello("encode"))
                        assert (await other.rest()).error.code == "too-many-sessions"
                for origin in ("http://codec.example.org", "https://evil.example", "null"):
                    with pytest.raises(InvalidStatus, match="403"):
                        async with opened(raw, port, certificate[0], origin=origin):
                            pass

    raw.run(scenario())
