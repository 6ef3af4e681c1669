"""Dead letters as text for a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from eurouter.v1 import jobs_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from service import wire

WIDTH: Final = 100
_GAP: Final = "  "
_HEADS: Final = ("ID", "TIME (UTC)", "REASON", "OWNER", "FROM")
_WIDEST: Final = (14, 14, 20, 14, 26)
_LAST: Final = "MESSAGE"
_MOST_HEX: Final = 256


def table(letters: Sequence[pb.DeadLetter]) -> str:
    """One line for each, no line wider than `WIDTH`; what is cut ends, or begins, with "…"."""
    rows = [
        (
            letter.id,
            _moment(letter.create_time, "%m-%d %H:%M:%S"),
            letter.reason,
            letter.owner or "-",
            place_text(letter),
        )
        for letter in letters
    ]
    widths = [
        min(most, max(len(head), *(len(row[column]) for row in rows), 0))
        for column, (head, most) in enumerate(zip(_HEADS, _WIDEST, strict=True))
    ]
    left = WIDTH - sum(widths) - len(_GAP) * len(widths)
    lines = [_line(_HEADS, widths, _LAST, left)]
    lines += [
        _line(row, widths, _sentence(letter.message), left) for row, letter in zip(rows, letters, strict=True)
    ]
    return "\n".join(lines)


def json_text(letter: pb.DeadLetter) -> str:
    """As JSON on one line. JSON itself allows characters that some terminals obey: here they are escaped."""
    text = wire.render_bytes(letter).decode()
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def place_text(letter: pb.DeadLetter) -> str:
    """Where a letter was submitted: topic, partition and offset."""
    return f"{letter.original_topic}:{letter.original_partition}:{letter.original_offset}"


def letter_text(letter: pb.DeadLetter, *, whole: bool) -> str:
    """All of a letter, content as it is where it is text."""
    lines = [
        f"id:         {letter.id}",
        f"reason:     {_printable(letter.reason)}",
        f"message:    {_sentence(letter.message)}",
        f"owner:      {_printable(letter.owner) or '- (nobody knows: redrive it with --vouched-owner)'}",
        f"from:       {_printable(place_text(letter))}",
        f"submitted:  {_moment(letter.original_time, '%Y-%m-%dT%H:%M:%SZ')}",
        f"here since: {_moment(letter.create_time, '%Y-%m-%dT%H:%M:%SZ')}",
        f"key:        {_content(letter.key) if letter.HasField('key') else '- (none)'}",
    ]
    lines += [f"header:     {_printable(one.name)}: {_content(one.value)}" for one in letter.headers]
    if not whole:
        lines.append(
            "incomplete: too large to be kept as a whole: see where it is from, and send it again from there"
        )
    size = f"{letter.value_bytes} bytes"
    if not letter.HasField("value"):
        lines.append(f"value:      none here; it has {size}" if letter.value_bytes else "value:      - (none)")
        return "\n".join(lines)
    return "\n".join([*lines, f"value:      {size}", "", _content(letter.value, lines=True)])


def redriven_text(letter: pb.RedrivenLetter, owner: str, *, dry_run: bool) -> str:
    """What became of one letter, and in whose name, on one line."""
    if letter.reason:
        return f"{letter.id}  {_printable(letter.reason)}: {_sentence(letter.message)}"
    done = "would be submitted" if dry_run else letter.response_id
    return f"{letter.id}  {done}  as {_printable(owner)}{' (there already)' if letter.repeated else ''}"


def _line(cells: Sequence[str], widths: Sequence[int], message: str, left: int) -> str:
    fixed = [
        _cut(cell, width, keep_end=column == len(widths) - 1)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return _GAP.join([*fixed, _cut(message, left).rstrip()]).rstrip()


def _cut(text: str, width: int, *, keep_end: bool = False) -> str:
    text = _printable(text)
    if len(text) <= width:
        return text.ljust(width)
    return f"…{text[len(text) - width + 1 :]}" if keep_end else f"{text[: width - 1]}…"


def _moment(time: Timestamp, form: str) -> str:
    return datetime.fromtimestamp(time.seconds, UTC).strftime(form) if time.ByteSize() else "-"


def _content(value: bytes, *, lines: bool = False) -> str:
    """Text as it is, without what a terminal would obey; other bytes in hexadecimal, the first of them."""
    try:
        return _printable(value.decode(), lines=lines)
    except UnicodeDecodeError:
        rest = f"… ({len(value)} bytes)" if len(value) > _MOST_HEX else ""
        return f"{value[:_MOST_HEX].hex(' ')}{rest} (no text)"


def _sentence(text: str) -> str:
    """On one line."""
    return _printable(" ".join(text.split()))


def _printable(text: str, *, lines: bool = False) -> str:
    kept = "\n\t" if lines else ""
    return "".join(
        one if one.isprintable() or one in kept else one.encode("unicode_escape").decode() for one in text
    )
