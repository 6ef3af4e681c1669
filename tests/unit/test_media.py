"""What bytes are, and what is said of a request's media at the door."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from service.domain.fields import Field
from service.domain.media import (
    DataUri,
    FetchedMedia,
    TextCheck,
    file_name_of,
    media_type_of,
    sniff,
    sniff_base64,
    split_data_uri,
)
from tests.support.chats import complaints, read
from tests.support.fetched import fetched

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
WEBP = b"RIFF\x24\x00\x00\x00WEBPVP8 "
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "
KNOWN = {
    "image/png": PNG,
    "image/jpeg": JPEG,
    "image/webp": WEBP,
    "image/gif": b"GIF89a\x01\x00",
    "application/pdf": b"%PDF-1.7\n",
    "audio/wav": WAV,
    "audio/flac": b"fLaC\x00",
    "audio/ogg": b"OggS\x00",
    "audio/mpeg": b"ID3\x04",
    "audio/mp4": b"\x00\x00\x00\x20ftypM4A ",
}


def said(*parts: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(("media_type", "start"), KNOWN.items())
def test_bytes_are_known_by_their_signature(media_type: str, start: bytes) -> None:
    assert sniff(start) == media_type
    assert sniff(start + bytes(1000)) == media_type
    assert sniff_base64(b64encode(start + bytes(100)).decode()) == media_type
    assert sniff_base64(b64encode(start).decode()) == media_type


@pytest.mark.parametrize(
    "start",
    [b"", b"\x89PNG", b"\xff\xd8", b"RIFF\x00\x00\x00\x00AVI ", b"RIFF", b"<svg>", b"\x00\x00\x00\x20ftypavif"],
)
def test_other_bytes_are_nothing_that_is_known(start: bytes) -> None:
    assert sniff(start) is None


def is_text(data: bytes) -> bool:
    check = TextCheck()
    check.feed(data)
    return check.passes()


def test_text_is_utf_8_without_zeros_and_nothing_with_a_signature() -> None:
    assert is_text("Grüße, 世界\r\n\t".encode())
    assert not is_text(b"a\x00b")
    assert not is_text(b"\xff\xfe")
    assert not is_text(b"%PDF-1.7 text")


def test_a_type_is_told_by_its_usual_name() -> None:
    assert media_type_of(" Image/JPG ; charset=x") == "image/jpeg"
    assert media_type_of("image/png;base64,AAAA") == "image/png"
    assert media_type_of("") == ""


@pytest.mark.parametrize(
    ("url", "media_type", "name"),
    [
        ("https://a.example/b/report%20one.pdf?sig=x#p", "application/pdf", "report one.pdf"),
        ("https://a.example/", "application/pdf", "document.pdf"),
        ("https://a.example", "text/plain", "document.txt"),
        ("https://a.example/a%2Fb", "application/pdf", "document.pdf"),
        ("https://a.example/" + "n" * 101, "application/pdf", "document.pdf"),
        ("https://a.example/a%0Ab.pdf", "application/pdf", "document.pdf"),
        ("https://a.example/", "image/png", "image.png"),
    ],
)
def test_a_file_is_named_after_its_address_where_that_names_one(url: str, media_type: str, name: str) -> None:
    assert file_name_of(url, media_type) == name


@pytest.mark.parametrize("step", [1, 2, 3, 5, 64])
def test_bytes_that_come_one_after_another_read_as_one_data_uri(step: int) -> None:
    data = b"\x89PNG" + bytes(range(128))
    uri = DataUri()
    for start in range(0, len(data), step):
        uri.feed(data[start : start + step])
    assert uri.finish("image/png") == fetched("image/png", data)
    assert DataUri().finish("text/plain") == FetchedMedia("text/plain", 0, "data:text/plain;base64,")


@pytest.mark.parametrize(
    ("pieces", "passes"),
    [
        (["Gr\u00fc\u00dfe".encode()[:3], "Gr\u00fc\u00dfe".encode()[3:]], True),
        (["Gr\u00fc".encode()[:3]], False),
        ([b"text", b"\xff"], False),
        ([b"text", b"a\x00b"], False),
        ([b"%P", b"DF-1.7"], False),
    ],
    ids=["a letter in two pieces", "half a letter", "no UTF-8", "a zero", "a PDF in two pieces"],
)
def test_text_is_known_piece_by_piece(pieces: list[bytes], passes: bool) -> None:
    check = TextCheck()
    for piece in pieces:
        check.feed(piece)
    assert check.passes() is passes


@pytest.mark.parametrize("stated", ["png", "jpeg", "gif", "webp"])
@pytest.mark.parametrize("actual", sorted(KNOWN))
def test_an_image_must_be_what_its_data_uri_says(stated: str, actual: str) -> None:
    url = f"data:image/{stated};base64,{b64encode(KNOWN[actual]).decode()}"
    message = said({"type": "image_url", "image_url": {"url": url}})
    if actual == f"image/{stated}":
        assert Field.IMAGE_URL not in read(messages=message).needs.fields
        return
    found = complaints(messages=message)
    said_so = f"says image/{stated}, but its bytes are {actual}: state what it is"
    assert found == {"messages[0].content[0].image_url.url": said_so}


def inline(media_type: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": f"data:{media_type};base64,{b64encode(data).decode()}"}}


def sound(data: bytes, sound_format: str) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": b64encode(data).decode(), "format": sound_format}}


@pytest.mark.parametrize(
    ("part", "path"),
    [
        (inline("application/pdf", PNG), "file.file_data"),
        (inline("image/png", JPEG), "file.file_data"),
        (sound(WAV, "mp3"), "input_audio.format"),
        (sound(PNG, "wav"), "input_audio.format"),
    ],
)
def test_files_and_sounds_must_not_be_something_else_than_they_say(part: dict[str, Any], path: str) -> None:
    found = complaints(messages=said(part))
    assert set(found) == {f"messages[0].content[0].{path}"}
    assert "state what it is" in str(found)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"file_data": b64encode(PNG).decode()}},
        inline("application/pdf", b"%PDF-1.4"),
        inline("text/csv", b"a;b"),
        sound(WAV, "wav"),
        sound(WAV, "pcm16"),
        sound(b"\xff\xfb\x90\x00", "mp3"),
    ],
)
def test_what_says_what_it_is_or_nothing_passes(part: dict[str, Any]) -> None:
    assert read(messages=said(part)).generation.turns


def test_each_address_is_kept_with_the_first_place_where_it_stands() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}
    other = {"type": "image_url", "image_url": {"url": "HTTPS://a.example/c.png"}}
    needs = read(messages=[*said({"type": "text", "text": "x"}, image), *said(image, other)]).needs
    assert needs.fields[Field.IMAGE_URL] == "messages[0].content[1].image_url.url"
    assert needs.addresses == {
        (Field.IMAGE_URL, "https://a.example/b.png"): "messages[0].content[1].image_url.url",
        (Field.IMAGE_URL, "HTTPS://a.example/c.png"): "messages[1].content[1].image_url.url",
    }


def test_a_data_uri_is_split_into_its_types_usual_name_and_its_data() -> None:
    assert split_data_uri("data:Image/JPG;charset=x;base64,AA,A") == ("image/jpeg", "AA,A")
