"""Images and files by address, at every dialect: said where the endpoint takes them, refused by name where not."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from service.domain.errors import Reason, ServiceError
from service.domain.fields import Field
from service.domain.generation import File, Generation, Image, Part, Role, Text, ToolCall, ToolResult, Turn
from tests.contract.dialects import DIALECTS
from tests.contract.sample import DialectSample, endpoint_for
from tests.golden.requests import PNG

IMAGE, FILE = Image("https://a.example/secret-path.png"), File(url="https://a.example/secret-path.pdf")
PDF = File("data:application/pdf;base64,JVBERi0=", "a.pdf")


def asking(part: Part) -> Generation:
    return Generation((Turn(Role.USER, (Text("What is it?"), part)),))


def after_a_tool(part: Part) -> Generation:
    call = ToolCall("call_1", "look", "{}")
    result = ToolResult("call_1", (part,))
    turns = (
        Turn(Role.USER, (Text("Look."),)),
        Turn(Role.ASSISTANT, (call,)),
        Turn(Role.TOOL, (result,)),
    )
    return Generation(turns)


def cases(*, said: bool) -> Iterator[object]:
    for sample in DIALECTS:
        for field, part, whole in (
            (Field.IMAGE_URL, IMAGE, Field.IMAGE_INPUT),
            (Field.FILE_URL, FILE, Field.FILE_INPUT),
        ):
            can = sample.dialect.expressible
            if whole in can and (not said or field in can):
                yield pytest.param(sample, field, part, id=f"{sample.name}-{field}")


@pytest.mark.parametrize(("sample", "field", "part"), list(cases(said=True)))
def test_an_address_reaches_the_wire_where_it_can_be_said(
    sample: DialectSample, field: Field, part: Image | File
) -> None:
    sent = sample.dialect.build(asking(part), endpoint_for(sample.dialect), stream=False)
    assert str(part.url).encode() in sent.body
    assert field in sample.carried(orjson.loads(sent.body))


@pytest.mark.parametrize(("sample", "field", "part"), list(cases(said=False)))
def test_where_only_bytes_are_taken_an_address_is_refused_by_its_place_and_not_repeated(
    sample: DialectSample, field: Field, part: Image | File
) -> None:
    can = sample.dialect.expressible - {field}
    for stream in (False, True):
        with pytest.raises(ServiceError) as caught:
            sample.dialect.build(asking(part), endpoint_for(sample.dialect, can), stream=stream)
        assert caught.value.reason is Reason.INVALID_REQUEST
        (violation,) = caught.value.violations
        assert violation.path.startswith("messages[0].content[1]")
        assert "secret-path" not in str(caught.value)


@pytest.mark.parametrize(("sample", "field", "part"), list(cases(said=False)))
def test_in_a_tools_output_it_is_refused_too(sample: DialectSample, field: Field, part: Image | File) -> None:
    can = sample.dialect.expressible - {field}
    with pytest.raises(ServiceError) as caught:
        sample.dialect.build(after_a_tool(part), endpoint_for(sample.dialect, can), stream=False)
    assert caught.value.reason is Reason.INVALID_REQUEST
    assert caught.value.violations[0].path.startswith("messages[2]")


@pytest.mark.parametrize(("sample", "field", "part"), list(cases(said=False)))
def test_where_only_bytes_are_taken_bytes_are_said(
    sample: DialectSample, field: Field, part: Image | File
) -> None:
    can = sample.dialect.expressible - {field}
    inline = Image(PNG) if isinstance(part, Image) else PDF
    sent = sample.dialect.build(asking(inline), endpoint_for(sample.dialect, can), stream=False)
    base64 = PNG.partition(",")[2] if isinstance(part, Image) else "JVBERi0="
    assert base64.encode() in sent.body
