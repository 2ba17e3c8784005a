"""Fossil deltas: a payload as copies from the previous payload and the new parts in between. Pure.

A delta is ``<length of the target>\\n``, then ``<count>@<offset>,`` (a copy from the source) and ``<count>:<bytes>``
(a literal) in any order, and at the end ``<checksum>;``. Numbers are in base 64; the checksum is the sum of the
target's big-endian 32-bit words. Every delta that `create_delta` returns is valid, and at most a few numbers longer
than the target; it need not be the shortest. The time is linear in the two lengths for every input.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MAX_TARGET_BYTES: Final = 1 << 20
"""The largest target that `apply_delta` makes by default: NATS's default limit for a message."""

BLOCK_BYTES: Final = 16
"""The shortest common part that the search finds (Fossil's NHASH). Such a copy always pays: with the header of the
literal after it, it takes at most 15 bytes in payloads below 16 MiB."""

MIN_END_BYTES: Final = 8
"""The shortest common prefix or suffix that becomes a copy: such a copy never splits a literal."""

MAX_BLOCKS: Final = 4096
"""How many blocks of a source are indexed: all blocks of 64 KiB, every second one of 128 KiB, and so on."""

MAX_COPIES: Final = 1024
"""After this many copies the rest becomes a literal. A text with more copies has no long unchanged part."""

NEAR_BYTES: Final = 512
"""How far after a change the source is searched before it is indexed: most changes are a few short fields."""

NEAR_TRIES: Final = 8
"""How many blocks of the target, `MIN_END_BYTES` apart, are searched for there: the new part may have 56 bytes."""

_DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_SIZE = re.compile(rb"([0-9A-Z_a-z~]{1,6})\n")
_COMMAND = re.compile(rb"([0-9A-Z_a-z~]{1,6})(?:@([0-9A-Z_a-z~]{1,6}),|(:)|;)")

_SUM_BYTES: Final = 4096  # the words of this many bytes are added at once, in one long integer
_EVEN_WORDS: Final = int.from_bytes(b"\0\0\0\0\xff\xff\xff\xff" * (_SUM_BYTES // 8))


class Copy(NamedTuple):
    """`size` equal bytes, at `target` in the target and at `source` in the source."""

    target: int
    source: int
    size: int


def create_delta(source: bytes, target: bytes) -> bytes:
    """A delta from `source` to `target`. It may be longer than `target`, which is then sent instead."""
    return _encode(target, _copies(source, target))


def create_text_delta(source: bytes, target: bytes) -> bytes | None:
    """A delta that is valid UTF-8, for a JSON string: copies and literals consist of whole characters.

    None if it is not shorter than `target`, or if `target` is not UTF-8. The source may be any bytes.
    """
    copies = _copies(source, target)
    if not target.isascii():
        try:
            target.decode()
        except UnicodeDecodeError:
            return None
        copies = [whole for copy in copies if (whole := _whole_characters(copy, target)).size >= MIN_END_BYTES]
    delta = _encode(target, copies)
    return delta if len(delta) < len(target) else None


def apply_delta(source: bytes, delta: bytes, max_size: int = MAX_TARGET_BYTES) -> bytes:
    """The target. Raises `ValueError` if `delta` is malformed, is not for `source`, or makes over `max_size` bytes."""
    head = _SIZE.match(delta)
    if head is None:
        raise ValueError("the delta does not begin with the length of its target")
    size = _value(head[1])
    if size > max_size:
        raise ValueError(f"the target has {size} bytes, expected at most {max_size}")
    pieces: list[bytes] = []
    place, made = head.end(), 0
    while True:
        command = _COMMAND.match(delta, place)
        if command is None:
            raise ValueError(f"expected a command at byte {place} of the delta")
        count, place = _value(command[1]), command.end()
        if command[2] is not None:
            start = _value(command[2])
            piece = source[start : start + count]
        elif command[3] is not None:
            piece = delta[place : place + count]
            place += count
        else:
            break
        if len(piece) != count:
            raise ValueError("a command needs more bytes than there are")
        made += count
        if made > size:
            raise ValueError("the target is longer than the delta says")
        pieces.append(piece)
    target = b"".join(pieces)
    if made != size or place != len(delta):
        raise ValueError("the delta ends too early or too late")
    if count != _checksum(target):
        raise ValueError("the checksum is wrong: the delta is not for this source")
    return target


# --- copies ---------------------------------------------------------------------------------------------------------


def _copies(source: bytes, target: bytes) -> list[Copy]:
    """Parts that source and target have in common, in the order of the target; they do not overlap."""
    most = min(len(source), len(target))
    prefix = _equal_after(source, 0, target, 0, most)
    if prefix < MIN_END_BYTES:
        prefix = 0
    suffix = _equal_before(source, len(source), target, len(target), most - prefix)
    if suffix < MIN_END_BYTES:
        suffix = 0
    copies = [Copy(0, 0, prefix)] if prefix else []
    if most - prefix - suffix >= BLOCK_BYTES:
        copies += _inner_copies(source, len(source) - suffix, target, len(target) - suffix, prefix)
    if suffix:
        copies.append(Copy(len(target) - suffix, len(source) - suffix, suffix))
    return copies


def _inner_copies(source: bytes, source_end: int, target: bytes, target_end: int, start: int) -> list[Copy]:
    """The common parts between the common prefix and the common suffix."""
    copies: list[Copy] = []
    blocks: dict[bytes, int] = {}
    stride = BLOCK_BYTES
    while (source_end - start) // stride > MAX_BLOCKS:
        stride *= 2
    misses = 0
    last = target_end - BLOCK_BYTES
    beyond, done = start, start  # where the previous copy ends, in the source and in the target
    while done <= last and len(copies) < MAX_COPIES:
        found = -1
        for at in range(done, min(done + NEAR_TRIES * MIN_END_BYTES, last + 1), MIN_END_BYTES):
            found = source.find(target[at : at + BLOCK_BYTES], beyond, min(beyond + at - done + NEAR_BYTES, source_end))
            if found >= 0:
                break
        else:
            if not blocks:  # for a block that occurs twice the first place is kept, since most follows it
                places = range(source_end - BLOCK_BYTES, start - 1, -stride)
                blocks = {source[place : place + BLOCK_BYTES]: place for place in places}
            at = done
            while at <= last:
                found = blocks.get(target[at : at + BLOCK_BYTES], -1)
                if found >= 0:
                    break
                # Ever larger steps through the new part, as in LZ4. They are odd and the stride is a power of two, so
                # that the steps hit a long common part at each remainder and find it all the same.
                misses += 1
                at += 1 + 2 * (misses // (8 * stride))
            if found < 0:
                break
        back = _equal_before(source, found, target, at, min(found - start, at - done))
        ahead = BLOCK_BYTES + _equal_after(
            source,
            found + BLOCK_BYTES,
            target,
            at + BLOCK_BYTES,
            min(source_end - found, target_end - at) - BLOCK_BYTES,
        )
        copies.append(Copy(at - back, found - back, back + ahead))
        beyond, done = found + ahead, at + ahead
        misses = max(0, misses - back - ahead)
    return copies


def _equal_after(source: bytes, source_at: int, target: bytes, target_at: int, most: int) -> int:
    """How many bytes from these places on are equal, at most `most`."""
    equal, width = 0, 32
    while equal < most:
        width = min(width, most - equal)
        at = source_at + equal
        if target.startswith(source[at : at + width], target_at + equal):
            equal += width
            width *= 4
            continue
        while width > 1:  # it differs within the next `width` bytes; halve them
            half = width // 2
            at = source_at + equal
            if target.startswith(source[at : at + half], target_at + equal):
                equal += half
                width -= half
            else:
                width = half
        break
    return equal


def _equal_before(source: bytes, source_at: int, target: bytes, target_at: int, most: int) -> int:
    """How many bytes before these places are equal, at most `most`.

    The mirror image of `_equal_after`, written out: sharing the loop makes `create_delta` 15 % slower.
    """
    equal, width = 0, 32
    while equal < most:
        width = min(width, most - equal)
        at = source_at - equal
        if target.endswith(source[at - width : at], 0, target_at - equal):
            equal += width
            width *= 4
            continue
        while width > 1:
            half = width // 2
            at = source_at - equal
            if target.endswith(source[at - half : at], 0, target_at - equal):
                equal += half
                width -= half
            else:
                width = half
        break
    return equal


# --- encoding -------------------------------------------------------------------------------------------------------


def _encode(target: bytes, copies: list[Copy]) -> bytes:
    parts = [_number(len(target)), b"\n"]
    done = 0
    for copy in (*copies, Copy(len(target), 0, 0)):
        if copy.target > done:
            parts += (_number(copy.target - done), b":", target[done : copy.target])
        if copy.size:
            parts += (_number(copy.size), b"@", _number(copy.source), b",")
        done = copy.target + copy.size
    parts += (_number(_checksum(target)), b";")
    return b"".join(parts)


def _whole_characters(copy: Copy, target: bytes) -> Copy:
    """The copy without incomplete characters at its ends. `target` is UTF-8."""
    start, end = copy.target, copy.target + copy.size
    while start < end and _inside_character(target, start):
        start += 1
    while end > start and _inside_character(target, end):
        end -= 1
    return Copy(start, copy.source + start - copy.target, end - start)


def _inside_character(text: bytes, at: int) -> bool:
    return at < len(text) and text[at] & 0xC0 == 0x80


def _number(value: int) -> bytes:
    digits = bytearray((_DIGITS[value & 63],))
    while value := value >> 6:
        digits.append(_DIGITS[value & 63])
    digits.reverse()
    return bytes(digits)


def _value(digits: bytes) -> int:
    value = 0
    for digit in digits:
        value = value << 6 | _VALUES[digit]
    return value


def _checksum(data: bytes) -> int:
    """Adds a thousand words at a time, as digits of a long integer, which is three times as fast as adding them one by
    one.

    A digit has 64 bits for words of 32 bits, so nothing carries over. The remainder by 2**64 - 1 is the sum of the
    digits, as the remainder by 9 is that of decimal digits.
    """
    total = 0
    for start in range(0, len(data), _SUM_BYTES):
        chunk = data[start : start + _SUM_BYTES]
        words = int.from_bytes(chunk + bytes(-len(chunk) % 4))
        total += (words & _EVEN_WORDS) + (words >> 32 & _EVEN_WORDS)
    return total % (2**64 - 1) & 0xFFFFFFFF
