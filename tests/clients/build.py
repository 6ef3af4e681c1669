"""Build the example clients as their pages say, without a network, from what `prepare.py` fetched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.clients import prepare
from tests.support.parts import ROOT, require

BUILD_SECONDS = 240


@dataclass(frozen=True, slots=True)
class Client:
    """A built client: `command` starts it in `folder` with `variables`."""

    language: str
    command: str
    folder: Path
    variables: dict[str, str]


def build(language: prepare.Language, folder: Path) -> Client:
    """Compile the example in an empty folder; a missing toolchain is a missing part.

    Raises:
        AssertionError: a command of the page failed; the text is what it said.
    """
    prepared = fetched(language)
    prepare.copy_project(language, folder)
    variables = {**prepare.environment(prepared), "GOPROXY": "off", "npm_config_offline": "true"}
    if language.slug == "python":
        install_stubs(folder, prepared / "wheels")
    else:
        if language.slug == "java":
            (folder / ".mvn").mkdir()
            (folder / ".mvn" / "maven.config").write_text("-o\n", encoding="utf-8")
        if language.slug == "typescript":
            (folder / "node_modules").symlink_to(prepared / "node_modules")
        call("bash", "-euxc", language.commands(prepare.BUILD), folder=folder, variables=variables)
    return Client(language.slug, language.commands("Run"), folder, variables)


def fetched(language: prepare.Language) -> Path:
    """The folder of what the language needs; ends the test when the machine lacks it."""
    part = f"the {language.name} client"
    missing = language.missing()
    require(part, not missing, f"{language.install} (not found: {', '.join(missing)})")
    prepared = language.prepared()
    require(part, prepare.is_ready(prepared), prepare.why_not(prepared))
    return prepared


def stubs_wheel(folder: Path) -> Path:
    """Build the distribution eurouter-protos from a copy of its sources, with the tools that are here."""
    sources = folder / "protos"
    shutil.copytree(ROOT / "protos", sources)
    command = ("-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", "dist")
    call(sys.executable, *command, "./protos", folder=folder)
    (wheel,) = (folder / "dist").iterdir()
    return wheel


def install_stubs(folder: Path, wheels: Path) -> Path:
    """Make `.venv` in the folder with the stubs as they are now and what they need; returns its Python."""
    work = folder / "stubs"
    work.mkdir()
    call(sys.executable, "-m", "venv", ".venv", folder=folder)
    python = folder / ".venv" / "bin" / "python"
    install = ("-m", "pip", "install", "--no-index", "--find-links", str(wheels))
    call(python, *install, stubs_wheel(work), "googleapis-common-protos", folder=folder)
    shutil.rmtree(work)
    shutil.rmtree(folder / "protos", ignore_errors=True)
    return python


def call(*command: str | Path, folder: Path, variables: dict[str, str] | None = None) -> str:
    """Run a command to its end and return what it said.

    Raises:
        AssertionError: it failed; the text is what it said.
    """
    ran = subprocess.run(
        command, cwd=folder, env={**(variables or os.environ), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        timeout=BUILD_SECONDS,
    )  # fmt: skip
    assert ran.returncode == 0, f"{' '.join(map(str, command))}\n{ran.stdout}"
    return ran.stdout
