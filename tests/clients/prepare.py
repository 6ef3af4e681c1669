"""Fetch what the example clients need, outside of the tests, which have no network: `make test` calls it first.

Each language has a page in docs/clients whose shell blocks are its commands. Here they run once per content, with
the network, in a folder of the cache; `test_client_languages.py` runs those of "Generate and compile" and "Run"
again without it. A missing toolchain or registry ends nothing here: the tests name it as a missing part.
Standard library only: it runs before anything else is known to work. POSIX only, as make is.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eurouter" / "clients"
LIMIT = 240
"""Seconds that one language may take."""

BUILD = "Generate and compile"
"""The section whose commands the tests repeat without a network."""

_KEPT = 2
_SECTION = re.compile(r"^## (?P<title>.+)\n(?P<body>(?:(?!## ).*\n?)*)", re.MULTILINE)
_SHELL = re.compile(r"^```sh\n(?P<script>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Language:
    """`slug` names the folder and the page, `tools` are the programs that must be on the PATH."""

    slug: str
    name: str
    tools: tuple[str, ...]
    install: str
    fetching: tuple[str, ...] = ("Set up", BUILD)
    """The sections that need the network the first time."""

    @property
    def folder(self) -> Path:
        """The example's own files."""
        return ROOT / "tests" / "clients" / self.slug

    @property
    def page(self) -> Path:
        """The page for users of this language."""
        return ROOT / "docs" / "clients" / f"{self.slug}.md"

    def missing(self) -> list[str]:
        """The tools that this machine lacks."""
        return [tool for tool in self.tools if shutil.which(tool) is None]

    def commands(self, *titles: str) -> str:
        """The shell blocks of the page's sections with these titles, joined.

        Raises:
            LookupError: the page has no such section or the section no shell block.
        """
        sections = {found["title"]: found["body"] for found in _SECTION.finditer(self._text())}
        scripts = []
        for title in titles:
            blocks = _SHELL.findall(sections.get(title, ""))
            if not blocks:
                raise LookupError(f"{self.page.name} has no commands under the heading {title!r}")
            scripts += blocks
        return "".join(scripts)

    def prepared(self) -> Path:
        """Where what this content needs is kept; ready when `is_ready` says so."""
        digest = hashlib.sha256(self.commands(*self.fetching).encode())
        for path in sorted(
            path for path in self.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
        ):
            digest.update(str(path.relative_to(self.folder)).encode() + b"\0" + path.read_bytes() + b"\0")
        return CACHE / f"{self.slug}-{digest.hexdigest()[:16]}"

    def _text(self) -> str:
        return self.page.read_text(encoding="utf-8")


LANGUAGES = (
    Language("go", "Go", ("go",), "install Go 1.26 or newer"),
    Language("java", "Java", ("javac", "mvn"), "install a JDK 17 or newer and Maven 3.8 or newer", (BUILD,)),
    Language("typescript", "TypeScript", ("node", "npm"), "install Node.js 20 or newer with npm"),
    Language("python", "Python", (), "", ("Set up",)),
)


def is_ready(prepared: Path) -> bool:
    """Whether everything was fetched into this folder."""
    return (prepared / ".ready").exists()


def why_not(prepared: Path) -> str:
    """What kept a folder from being ready, in one line."""
    log = prepared / "commands.log"
    if not log.exists():
        return "run the tests by `make test`, which fetches what it needs"
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").split("\n")]
    # Lines with a plus are bash's echo of the commands.
    said = next((line for line in reversed(lines) if line and not line.startswith("+ ")), "nothing was said")
    return f"fetching what it needs failed, see {log}: {said}"


def copy_project(language: Language, folder: Path) -> None:
    """Make the folder that the page's commands run in: the example, and `protos` beside its files."""
    shutil.copytree(language.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    unwanted = ["__pycache__"] if language.slug == "python" else ["__pycache__", "*.py", "*.pyi", "*.toml"]
    shutil.copytree(ROOT / "protos", folder / "protos", ignore=shutil.ignore_patterns(*unwanted))


def environment(prepared: Path) -> dict[str, str]:
    """The variables for the page's commands: tools of the environment first, caches that every user id finds."""
    # Not the home directory's: inside a user namespace Java takes root's home for its own.
    maven = f"-Dmaven.repo.local={CACHE / 'maven'}"
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(prepared / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "GOBIN": str(prepared / "bin"),
        "MAVEN_OPTS": f"{os.environ.get('MAVEN_OPTS', '')} {maven}".strip(),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "NO_COLOR": "1",
    }


def run(script: str, folder: Path, variables: dict[str, str]) -> bool:
    """Run a page's commands; what they say goes to `commands.log`. False when one failed or took too long."""
    with (folder / "commands.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-euxc", script], cwd=folder, env=variables, stdin=subprocess.DEVNULL,
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(LIMIT) == 0
        except subprocess.TimeoutExpired:
            log.write(f"\nit took more than {LIMIT} seconds\n".encode())
            return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def prepare(language: Language) -> None:
    """Fetch for one language what is not there yet, and say so."""
    if missing := language.missing():
        say(f"no {' and no '.join(missing)} here: the {language.name} client is not checked")
        return
    prepared = language.prepared()
    if is_ready(prepared):
        os.utime(prepared)
        return
    say(f"fetching what the {language.name} client needs (up to a minute the first time)")
    shutil.rmtree(prepared, ignore_errors=True)
    copy_project(language, prepared)
    began = time.monotonic()
    if run(language.commands(*language.fetching), prepared, environment(prepared)):
        (prepared / ".ready").touch()
        say(f"the {language.name} client is ready after {time.monotonic() - began:.0f} s")
    else:
        say(f"the {language.name} client is not checked: {why_not(prepared)}")
    older = sorted(CACHE.glob(f"{language.slug}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in older[_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


def say(line: str) -> None:
    """Tell the person who waits."""
    sys.stdout.write(f"==> {line}\n")
    sys.stdout.flush()


@contextmanager
def alone(cache: Path = CACHE) -> Iterator[None]:
    """Wait for another run that fills the same cache."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Prepare every language, side by side: most of the time goes into waiting for registries."""
    with alone(), ThreadPoolExecutor(len(LANGUAGES)) as pool:
        list(pool.map(prepare, LANGUAGES))


if __name__ == "__main__":
    main()
