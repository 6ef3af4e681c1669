"""Build the image without a container engine, and run what is in it: `make image-test` calls it first.

Each stage of the Dockerfile is carried out as it is written, in a file system of its own: this machine's, with its
Python at /usr/local as in the image that stands in FROM, and over it a layer that takes every write. It needs root
on Linux (namespaces, overlay mounts) and the package index. What it can't show is the base itself: sizes are those
of what the Dockerfile adds. Only the builder is here; what a good image is stands in the tests.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.clients.prepare import alone, is_ready, say, why_not
from tests.deploy.image_context import in_context, listed_files
from tests.deploy.image_file import Dockerfile, Instruction, Stage, put_in, read_dockerfile
from tests.support.parts import ROOT

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eurouter" / "image"
DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
BASE_ENVIRONMENT: Final = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}
"""What the official Python images set and ours relies on."""

SETTINGS: Final = "etc/eurouter"
"""Where the tests mount settings: the folder must be there, since nothing can be made in a read-only root."""

_PASSED_ON: Final = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")


def prepared() -> Path:
    """The folder for what the image is made of now; ready when `is_ready` says so."""
    digest = hashlib.sha256(f"{sys.version} {DOCKERFILE.read_text(encoding='utf-8')}".encode())
    for path in context():
        digest.update(path.encode() + b"\0" + (ROOT / path).read_bytes() + b"\0")
    return CACHE / digest.hexdigest()[:16]


def context() -> list[str]:
    """The files that a builder sees."""
    ignored = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8")
    git = shutil.which("git")
    return sorted(in_context(listed_files(git, ROOT), ignored)) if git else []


def can_run() -> bool:
    """Whether this machine lets us mount and change users; most containers and CI runners don't."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        tried = subprocess.run([*inside(Path(folder), {}, {}), "/bin/true"], capture_output=True, check=False)
    return tried.returncode == 0


def inside(folder: Path, mounts: Mapping[str, Path], environment: Mapping[str, str]) -> list[str]:
    """The beginning of a command line that runs a command in a container's stead.

    The root is read-only; `mounts` are folders by their place in it, which can be written to. It runs as
    10001:10001 without capabilities, with no variables but `environment`; signals reach the command itself.
    """
    binds = [f"mount --bind '{source}' \"$root/{place}\"" for place, source in mounts.items()]
    drop = "setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set -all --inh-caps -all"
    variables = [f"{name}={value}" for name, value in environment.items()]
    return [*_private(folder, "runtime", binds), *drop.split(), "env", "--ignore-environment", *variables]


def _private(folder: Path, layer: str, more: Sequence[str] = (), *, writable: bool = False) -> list[str]:
    """A command line that goes into a root of its own, in a mount namespace that ends with the command.

    The root is the machine's, `base` over it and `layer` over both; `writable`: that one takes what is written.
    """
    for name in ("root", "machine", "base", layer):
        (folder / name).mkdir(parents=True, exist_ok=True)
    # Two overlays: one refuses a layer that is a folder of another, and every folder is one of the machine's.
    over = f"upperdir={folder / layer},workdir=$scratch/top,lowerdir={folder / 'machine'}"
    if not writable:
        over = f"lowerdir={folder / layer}:{folder / 'machine'}"
    script = [
        "set -e",
        f"scratch=$(mktemp -d '{folder}/scratch-XXXXXX')",
        'mkdir "$scratch/base" "$scratch/top"',
        f"root='{folder}/machine'",
        f'mount -t overlay overlay -o "lowerdir=/,upperdir={folder / "base"},workdir=$scratch/base" "$root"',
        *([f"root='{folder}/root'", f'mount -t overlay overlay -o "{over}" "$root"'] if layer != "base" else []),
        'mount --rbind /proc "$root/proc"',
        'mount --rbind /dev "$root/dev"',
        *more,
        'cd "$root"',
        'exec chroot "$root" "$@"',
    ]
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(script), "sh"]


class Builder:
    """Carries out a Dockerfile in a folder: one layer a stage, `base` below them."""

    def __init__(self, folder: Path, dockerfile: Dockerfile) -> None:
        self._folder = folder
        self._dockerfile = dockerfile
        self._log = (folder / "commands.log").open("ab")

    def build(self) -> None:
        """Makes `base`, and a layer of each stage: its name, or `runtime` of the last.

        Raises:
            CalledProcessError: a command failed; the log has what it said.
        """
        self._make_base()
        for stage in self._dockerfile.stages:
            self._make(stage)
        self._log.close()

    def _make(self, stage: Stage) -> None:
        layer, cwd = layer_of(stage), "/"
        seen = dict(BASE_ENVIRONMENT)
        for one in stage.instructions:
            before = Stage(stage.name, stage.base, stage.instructions[: stage.instructions.index(one)])
            seen = before.variables(BASE_ENVIRONMENT, self._dockerfile.arguments)
            match one.keyword:
                case "WORKDIR":
                    cwd = put_in(one, seen)
                    self._run(layer, ["mkdir", "-p", cwd], seen)
                case "RUN":
                    self._run(layer, ["sh", "-c", f"cd '{cwd}' && {one.value}"], {**_passed_on(), **seen})
                case "COPY":
                    self._copy(layer, one, cwd, seen)
                case _:
                    pass

    def _copy(self, layer: str, one: Instruction, cwd: str, seen: Mapping[str, str]) -> None:
        *sources, target = put_in(one, seen).split()
        origin = self._folder / (one.flags.get("from") or "context")
        to = self._folder / layer / str(Path(cwd, target)).lstrip("/")
        for source in sources:
            path = origin / source.lstrip("/")
            # Of a folder its content is copied; a file goes into a folder where the target is written as one.
            if path.is_dir():
                shutil.copytree(path, to, symlinks=True, dirs_exist_ok=True)
            else:
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, to)

    def _make_base(self) -> None:
        for path in context():
            to = self._folder / "context" / path
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, to)
        base = self._folder / "base"
        (base / SETTINGS).mkdir(parents=True)
        put_python(base / "usr" / "local")
        # With pip, as the official images have it, so that its removal is one. Debian's own Python gives none.
        self._run("base", ["sh", "-c", "ldconfig; python -m ensurepip || true"], BASE_ENVIRONMENT)

    def _run(self, layer: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        variables = [f"{name}={value}" for name, value in environment.items()]
        enter = _private(self._folder, layer, writable=True)
        self._log.write(f"+ {command[-1]}\n".encode())
        self._log.flush()
        subprocess.run(
            [*enter, "env", "--ignore-environment", *variables, *command],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, check=True,
        )  # fmt: skip


def put_python(prefix: Path) -> None:
    """Makes `prefix` the place of this interpreter, as in the official images: /usr/local/bin/python."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own, binaries = Path(sys.base_prefix), prefix / "bin"
    binaries.mkdir(parents=True)
    interpreter = f"{own}/bin/{version}"
    # What is under /usr everybody can read where it is; another one may be in somebody's home.
    if own.parts[:2] != ("/", "usr"):
        interpreter = f"/usr/local/bin/{version}"
        unwanted = ("__pycache__", "site-packages", "test", "tests", "idle_test", "config-*")
        shutil.copy2(own / "bin" / version, binaries)
        shutil.copytree(
            own / "lib" / version,
            prefix / "lib" / version,
            symlinks=True,
            ignore=shutil.ignore_patterns(*unwanted),
        )
        for library in (own / "lib").glob("libpython*.so*"):
            shutil.copy2(library, prefix / "lib", follow_symlinks=False)
    for name in ("python3", "python"):
        (binaries / name).symlink_to(interpreter)


def layer_of(stage: Stage) -> str:
    """The folder with what a stage adds."""
    return stage.name or "runtime"


def image() -> tuple[Dockerfile, dict[str, str]]:
    """The Dockerfile, and the variables that a container has."""
    dockerfile = read_dockerfile(DOCKERFILE.read_text(encoding="utf-8"))
    return dockerfile, dockerfile.runtime.environment(BASE_ENVIRONMENT)


def _passed_on() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.upper().startswith(_PASSED_ON)}


def main() -> int:
    """Builds what is not there yet, and says so; the exit code."""
    folder = prepared()
    if is_ready(folder):
        return 0
    if not can_run():
        say("the image can't be built here: it takes root on Linux, unshare and overlay mounts")
        return 1
    say("building the image without an engine (a minute)")
    # Half a gigabyte each: only the newest is kept.
    for older in CACHE.glob("[0-9a-f]*"):
        shutil.rmtree(older)
    folder.mkdir(parents=True)
    began = time.monotonic()
    try:
        Builder(folder, image()[0]).build()
    except subprocess.CalledProcessError:
        say(f"the image is not built: {why_not(folder)}")
        return 1
    finally:
        tidy(folder)
    (folder / ".ready").touch()
    say(f"the image is built after {time.monotonic() - began:.0f} s")
    return 0


def tidy(folder: Path) -> None:
    """Removes what mounts left behind. Call it when nothing runs inside."""
    for path in folder.glob("scratch-*"):
        shutil.rmtree(path)


if __name__ == "__main__":
    CACHE.mkdir(parents=True, exist_ok=True)
    with alone():
        sys.exit(main())
