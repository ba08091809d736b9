"""``facodec bench page``: time of the codec in a browser's page, and the size of its model."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.kit.common import Result, add_common, run_part, whole_number
from benchmarks.kit.present import Cell, Table

EXAMPLES = """\
  facodec bench page                         ms a hop in headless Chromium, size of the model
  facodec bench page --hops 4000             more of them
"""
MEASURE = """import('/codec.js').then(async ({ Codec }) => {
    const place = new URL('model.json', location.href);
    const began = performance.now();
    const codec = await Codec.load(place);
    const load = performance.now() - began;
    const answer = await fetch('sample.flac');
    const context = new OfflineAudioContext(1, 16000, 16000);
    const clip = (await context.decodeAudioData(await answer.arrayBuffer())).getChannelData(0);
    const encoder = codec.encoder(), decoder = codec.decoder();
    const encode = [], decode = [];
    for (let i = 0, at = 0; i < %d; i++, at += 200) {
      if (at + 200 > clip.length) at = 0;
      const start = performance.now();
      const [{ codes, voice }] = encoder.encode(clip.subarray(at, at + 200));
      const middle = performance.now();
      if (voice) decoder.setVoice(voice);
      decoder.decode(codes);
      encode.push(middle - start);
      decode.push(performance.now() - middle);
    }
    const fetched = performance.getEntriesByType('resource')
      .filter(({ name }) => name.includes('/model'))
      .reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0);
    return { load, encode, decode, fetched, identity: codec.identity };
})"""
WARMING = 200
"""Hops until the browser has compiled its best."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser, EXAMPLES, seed=False)
    add = parser.add_argument
    add("--hops", type=whole_number, help="hops timed (default 2000, 200 if quick)")
    add("--model", default="live", help="name or folder (default: live)")


def measure(args: argparse.Namespace, result: Result) -> None:
    """Fills ``hop_ms`` by direction; ``load_s`` and ``fetched_mb`` of the model. Raises ValueError
    without Chromium."""
    from benchmarks.kit.processes import running_server
    from benchmarks.kit.statistics import percentiles

    hops = args.hops or (200 if args.quick else 2000)
    with running_server("--model", args.model) as server:
        found = in_page(server.url.replace("ws", "http", 1), hops + WARMING)
    both = zip(found["encode"], found["decode"], strict=True)
    times = {
        "encode": found["encode"],
        "decode": found["decode"],
        "both": [sum(pair) for pair in both],
    }
    result["identity"] = found["identity"]
    result["hop_ms"] = {name: percentiles(each[WARMING:]) for name, each in times.items()}
    result["load_s"] = round(found["load"] / 1000, 3)
    result["fetched_mb"] = round(found["fetched"] / 1e6, 2)


def in_page(url: str, hops: int) -> dict[str, Any]:
    """Measurements of a page by itself: ms of each hop and of loading, bytes fetched."""
    import tempfile
    from pathlib import Path

    from benchmarks.kit.browser import chromium

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Chromium ends late
        try:
            with chromium(Path(folder)) as browser:
                tab = browser.tab()
                tab.open(url)
                found: dict[str, Any] = tab.run(MEASURE % hops)
                return found
        except FileNotFoundError as error:
            raise ValueError("Chromium is needed: apt-get install chromium") from error


def tables(result: Result) -> list[Table]:
    if not result.get("hop_ms"):
        return []
    rows: list[list[Cell]] = [
        [name, row["p50"], row["p95"], row["p99"], int(row["count"])]
        for name, row in result["hop_ms"].items()
    ]
    told = f"The model: {result['fetched_mb']} MB, loaded in {result['load_s']} s."
    columns = ("what", "p50", "p95", "p99", "hops")
    return [Table("page", "The codec in headless Chromium, ms a hop of 12.5", columns, rows, told)]


def run(args: argparse.Namespace) -> int:
    return run_part(args, measure, tables)
