"""Finding the blocks of a recording, also where bytes are damaged, missing or too many.

Reads forward only, so that pipes do too, in bounded memory and in time linear in the length.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from facodec.config import HOP, SAMPLE_RATE
from facodec.recording.blocks import (
    CHECKSUM,
    END,
    HEAD,
    MARK,
    MOST_BLOCK_FRAMES,
    FramesBlock,
    Head,
    VoiceBlock,
    checksum,
    read_content,
)

LARGEST_READ, LARGEST_REQUEST = 1 << 16, 1 << 20
SMALLEST_READ = 64


@dataclass(frozen=True)
class Lost:
    """Part of a recording that cannot be read. ``first`` to ``last``: numbers of the blocks;
    ``start`` to ``end``: samples, ``end`` None where nothing whole follows; ``size``: bytes.
    ``cut``: the file ends within a block, as where writing was broken off."""

    first: int
    last: int
    start: int
    end: int | None
    size: int
    why: str
    cut: bool = False

    def __str__(self) -> str:
        if self.cut:
            most = (self.end or self.start + MOST_BLOCK_FRAMES * HOP) - self.start
            about = "at most " if self.end is None else ""
            return (
                f"it is cut short: whole up to {clock(self.start)}, the block begun there is lost "
                f"({self.size} bytes, {about}{most / SAMPLE_RATE:.2f} s)"
            )
        if self.last < self.first:
            return f"{self.size} bytes before block {self.first} ({clock(self.start)}) are no block"
        several = self.last > self.first
        which = f"blocks {self.first} to {self.last} are" if several else f"block {self.first} is"
        until = "the end" if self.end is None else clock(self.end)
        return f"{which} damaged, {clock(self.start)} to {until}: {self.why}"


def clock(samples: int) -> str:
    """A place in a recording, as minutes and seconds: ``1:02.50``, ``1:00:02.50``."""
    hundredths = samples * 100 // SAMPLE_RATE
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 100:02d}.{rest % 100:02d}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


class Window:
    """View of the next bytes in a file or pipe. ``offset``: bytes taken so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._held = bytearray()
        self._chunk = SMALLEST_READ
        self._size = _regular_size(file)
        self.offset = 0
        self.read = 0
        """Bytes that were read, fewer than were taken where some were passed over."""

    def ahead(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at the end; they stay."""
        while len(self._held) < count:
            wanted = min(max(count - len(self._held), self._chunk), LARGEST_REQUEST)
            data = self._file.read(wanted)
            self._chunk = min(2 * self._chunk, LARGEST_READ)
            if not data:
                break
            self.read += len(data)
            self._held += data
        return bytes(self._held[:count])

    def find(self, mark: bytes) -> bool:
        """Go to the next ``mark``; False, at the end, where there is none."""
        while True:
            at = self._held.find(mark)
            if at >= 0:
                self._drop(at)
                return True
            self._drop(max(0, len(self._held) - len(mark) + 1))
            if len(self.ahead(len(mark))) < len(mark):
                self._drop(len(self._held))
                return False

    def skip(self, count: int) -> bool:
        """Go past ``count`` bytes, unread where that can be; False, at the end, where there are
        fewer."""
        held = min(count, len(self._held))
        left = count - held
        self._drop(held)
        if self._size is not None and left:
            self._chunk = SMALLEST_READ
            there = max(0, min(left, self._size - self.offset))
            self._file.seek(there, os.SEEK_CUR)
            self.offset += there
            return there == left
        while left:
            data = self.ahead(min(left, LARGEST_READ))
            if not data:
                return False
            left -= len(data)
            self._drop(len(data))
        return True

    def _drop(self, count: int) -> None:
        del self._held[:count]
        self.offset += count


def _regular_size(file: BinaryIO) -> int | None:
    """Bytes of a file that can be sought in, None for pipes."""
    try:
        found = os.fstat(file.fileno())
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


Item = FramesBlock | VoiceBlock | Lost
Wanted = Callable[[Head], bool]


class Scan:
    """The blocks from the place of ``window`` on. After iterating: ``blocks``, how many are whole;
    ``end``, the sample after the last frame; ``samples``, what the end block says, None where there
    is none; ``whole``, the bytes up to the end block or what is lost at the end, and
    ``whole_number``, the number that a block written there gets."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.number = 0
        self.end = 0
        self.samples: int | None = None
        self.whole = window.offset
        self.whole_number = 0
        self.blocks = 0

    def items(self, wanted: Wanted) -> Iterator[Item]:
        """Yields the contents of the wanted blocks, in their order; others are passed over, unread
        where that can be and then unchecked."""
        for item in self._run(wanted):
            if not isinstance(item, Head):
                yield item

    def heads(self) -> Iterator[Head]:
        """The beginnings of blocks; what they hold is passed over, unread where that can be."""
        for item in self._run(lambda head: False):
            if isinstance(item, Head):
                yield item

    def _run(self, wanted: Wanted) -> Iterator[Item | Head]:
        """Beginnings, contents and what is lost."""
        window = self._window
        while data := window.ahead(HEAD):
            begun = window.offset
            head, why = self._head(data)
            content: FramesBlock | VoiceBlock | None = None
            if head is not None:
                content, why = self._take(head, wanted)
            if head is not None and not why:
                self._account(head)
                yield head
                if content is not None:
                    yield content
                continue
            lost = self._find_on(begun, head, why)
            if lost is not None:
                yield lost

    def _head(self, data: bytes) -> tuple[Head | None, str]:
        try:
            head = Head.parse(data)
        except ValueError as error:
            return None, str(error)
        if self.samples is not None:
            return None, "bytes after the end"
        if head.number != self.number:
            return None, f"expected block {self.number}, got block {head.number}"
        if not self._follows(head):
            return None, f"expected samples from {self.end} on, got {head.start}"
        return head, ""

    def _follows(self, head: Head) -> bool:
        """Whether its time can come next; the last frame need not be sound to its end."""
        return head.start > self.end - HOP if head.kind == END else head.start >= self.end

    def _take(self, head: Head, wanted: Wanted) -> tuple[FramesBlock | VoiceBlock | None, str]:
        """The content and "", or why there is none; the window is past a block that is whole."""
        window = self._window
        if not wanted(head):
            return None, "" if window.skip(head.total) else "cut"
        data = window.ahead(head.total)
        if len(data) < head.total:
            return None, "cut"
        if checksum(data[:-CHECKSUM]) != data[-CHECKSUM:]:
            return None, "its content does not fit its checksum"
        try:
            content = read_content(head, data[HEAD:-CHECKSUM])
        except ValueError as error:
            return None, str(error)
        window.skip(head.total)
        return content, ""

    def _account(self, head: Head) -> None:
        self.number = head.number + 1
        self.blocks += 1
        if head.kind == END:
            self.samples = head.start
            return
        self.end = max(self.end, head.end)
        self.whole, self.whole_number = self._window.offset, self.number

    def _find_on(self, begun: int, head: Head | None, why: str) -> Lost | None:
        """Goes to the next whole block. What lies before it is lost; None where it is nothing."""
        window, first, start = self._window, self.number, self.end
        if why == "cut":
            while window.skip(LARGEST_READ):
                pass
            end = head.end if head is not None and head.frames else None
            start = start if head is None else head.start
            return Lost(first, first, start, end, window.offset - begun, why, cut=True)
        if head is not None:
            start = head.start
        after = first if head is None else first + 1
        while window.find(MARK):
            found = self._whole_block(after)
            if found is not None:
                self.number = found.number
                size = window.offset - begun
                return Lost(first, found.number - 1, start, found.start, size, why)
            window.skip(1)
        size = window.offset - begun
        self.number += 1
        if self.samples is not None:
            return Lost(first, first, self.end, None, size, f"{size} bytes after the end")
        if head is None and size < HEAD:
            return Lost(first, first, start, None, size, why, cut=True)
        end = None if head is None or not head.frames else head.end
        return Lost(first, first, start, end, size, why)

    def _whole_block(self, after: int) -> Head | None:
        """The beginning of the whole block that the window is at, from number ``after`` on."""
        if self.samples is not None:
            return None
        try:
            head = Head.parse(self._window.ahead(HEAD))
        except ValueError:
            return None
        if head.number < after or not self._follows(head):
            return None
        data = self._window.ahead(head.total)
        whole = len(data) == head.total and checksum(data[:-CHECKSUM]) == data[-CHECKSUM:]
        return head if whole else None
