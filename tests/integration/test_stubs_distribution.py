"""The distribution eurouter-protos: what its wheel holds, and that it works where nothing of the service is."""

from __future__ import annotations

import re
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.clients.build import call, fetched, install_stubs, stubs_wheel
from tests.clients.prepare import LANGUAGES
from tests.support.parts import ROOT

pytestmark = pytest.mark.timeout(300)

PACKAGE = ROOT / "protos" / "eurouter"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stubs_wheel(tmp_path_factory.mktemp("stubs"))


def expected_files() -> set[str]:
    """One file of each kind per proto, gRPC stubs where it declares a service, and the packages' markers."""
    expected = {"eurouter/__init__.py", "eurouter/py.typed", "eurouter/v1/__init__.py"}
    for proto in (PACKAGE / "v1").glob("*.proto"):
        kinds = [".proto", "_pb2.py", "_pb2.pyi"]
        if "\nservice " in proto.read_text(encoding="utf-8"):
            kinds += ["_pb2_grpc.py", "_pb2_grpc.pyi"]
        expected |= {f"eurouter/v1/{proto.stem}{kind}" for kind in kinds}
    return expected


def test_the_wheel_holds_the_generated_code_the_protos_the_type_marker_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert "eurouter/v1/chat_pb2_grpc.py" in names
    assert names == expected_files()


def test_the_wheel_says_what_it_needs_and_nothing_of_the_service(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Name"] == "eurouter-protos"
    assert metadata["License-Expression"] == "Apache-2.0"
    needed = metadata.get_all("Requires-Dist")
    assert needed is not None
    assert sorted(re.split(r"\W", requirement)[0] for requirement in needed) == ["grpcio", "protobuf"]


def test_the_wheel_carries_the_repositorys_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE"))
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        assert archive.read(name) == (ROOT / "LICENSE").read_bytes()
        assert Parser().parsestr(archive.read(metadata).decode())["License-File"] == "LICENSE"


@pytest.mark.slow
def test_the_stubs_import_in_an_environment_that_has_only_what_they_declare(tmp_path: Path) -> None:
    (python_language,) = (language for language in LANGUAGES if language.slug == "python")
    python = install_stubs(tmp_path, fetched(python_language) / "wheels")
    modules = sorted(f"eurouter.v1.{path.stem}" for path in (PACKAGE / "v1").glob("*_pb2*.py"))
    program = f"import {', '.join(modules)}; print(eurouter.v1.__file__)"
    (folder,) = call(python, "-W", "error", "-I", "-c", program, folder=tmp_path).splitlines()
    assert Path(folder).is_relative_to(tmp_path)
    call(python, "-m", "pip", "check", folder=tmp_path)
