"""The images of the cluster: two of one program each, and ours, built by buildah from deploy/Dockerfile.

There is no registry here: the base in FROM is a stand-in, Debian 12 by mmdebstrap with this machine's Python at
/usr/local, as the official image has it. All else of ours is done as the Dockerfile says.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.clients.prepare import say
from tests.deploy import image_build
from tests.deploy.manifests import release
from tests.kube.prepare import CACHE, Program
from tests.support.parts import ROOT

NAME: Final = "docker.io/library/eurouter"
"""What a kubelet makes of the manifests' `eurouter`."""

STAND_IN: Final = "localhost/eurouter-stand-in:latest"
_SUITE: Final = "bookworm"
# What the standard library's modules link to, and what the official image has for TLS.
_PACKAGES: Final = (
    "ca-certificates,libssl3,libsqlite3-0,zlib1g,libbz2-1.0,liblzma5,libffi8,libreadline8,libncursesw6,libuuid1,"
    "libexpat1"
)
_LOG: Final = "image-commands.log"


@dataclass(frozen=True, slots=True)
class OfOneProgram:
    """An image with nothing but a static program, which is its command."""

    name: str
    program: Program

    def archive(self) -> Path:
        """The file for `ctr images import`."""
        return self.program.folder() / "image.tar"

    def make(self) -> None:
        """Writes it if it isn't there yet."""
        if self.archive().exists() or not self.program.binary().exists():
            return
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as tar:
            tar.add(self.program.binary(), arcname=self.program.name)
        command = [f"/{self.program.name}"]
        config = {
            "architecture": _architecture(), "os": "linux", "config": {"Entrypoint": command},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
        }  # fmt: skip
        manifest = [{"Config": "config.json", "RepoTags": [self.name], "Layers": ["layer.tar"]}]
        new = self.archive().with_suffix(".new")
        with tarfile.open(new, "w") as tar:
            _add(tar, "config.json", json.dumps(config).encode())
            _add(tar, "manifest.json", json.dumps(manifest).encode())
            _add(tar, "layer.tar", layer.getvalue())
        new.replace(self.archive())


@dataclass(frozen=True, slots=True)
class Ours:
    """The image that the manifests name."""

    def archive(self) -> Path:
        """The file for `ctr images import`: what was made last."""
        return CACHE / "image.tar"

    def make(self) -> None:
        """Builds it if there is none of exactly these sources yet, and says so.

        Raises:
            CalledProcessError: a command failed; the log has what it said.
        """
        made = CACHE / f"image-{image_build.prepared().name}.tar"
        if made.exists():
            os.utime(made)
        else:
            base = _base()
            say("building the image by buildah, from deploy/Dockerfile (two minutes)")
            began = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="eurouter-image-", dir=CACHE) as folder:
                _build(Path(folder), base, made)
            say(f"the image is built after {time.monotonic() - began:.0f} s ({made.stat().st_size >> 20} MB)")
        link = self.archive().with_suffix(".new")
        link.symlink_to(made.name)
        link.replace(self.archive())


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _base() -> Path:
    """The stand-in's files as an archive; made if it isn't there yet."""
    digest = hashlib.sha256(f"{_SUITE} {_PACKAGES} {sys.version}".encode()).hexdigest()[:16]
    path = CACHE / f"stand-in-{digest}.tar"
    if path.exists():
        return path
    say("making a stand-in for the image's base by mmdebstrap (half a minute)")
    with tempfile.TemporaryDirectory(prefix="eurouter-stand-in-", dir=CACHE) as folder:
        root = Path(folder) / "root"
        _logged("mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(root))
        shutil.rmtree(root / "usr" / "local")
        image_build.put_python(root / "usr" / "local")
        _logged("chroot", str(root), "ldconfig")
        _logged("chroot", str(root), "/usr/local/bin/python", "-m", "ensurepip")
        new = Path(folder) / "new.tar"
        _logged("tar", "--one-file-system", "-C", str(root), "-cf", str(new), ".")
        new.replace(path)
    return path


def _build(folder: Path, base: Path, archive: Path) -> None:
    buildah = ("buildah", "--root", str(folder / "root"), "--runroot", str(folder / "run"))
    made = _logged(*buildah, "from", "scratch")
    try:
        _logged(*buildah, "add", "--quiet", made, str(base), "/")
        _logged(*buildah, "config", "--env", f"PATH={image_build.BASE_ENVIRONMENT['PATH']}", made)
        _logged(*buildah, "commit", "--quiet", "--rm", made, STAND_IN)
        name = f"{NAME}:{release()}"
        _logged(
            *buildah, "bud", "--isolation", "chroot", "--pull-never", "--build-arg", f"BASE={STAND_IN}",
            *_of_this_machine(), "--ignorefile", str(image_build.DOCKERFILE) + ".dockerignore",
            "-f", str(image_build.DOCKERFILE), "-t", name, str(ROOT),
        )  # fmt: skip
        new = folder / "image.tar"
        _logged(*buildah, "push", "--quiet", name, f"docker-archive:{new}:{name}")
        new.replace(archive)
    finally:
        # Its layers are mounts, which no removal of the folder gets past.
        subprocess.run([*buildah, "rm", "--all"], capture_output=True, check=False)


def _of_this_machine() -> list[str]:
    """How pip reaches its index from here: whom to trust, and a proxy. None of it stays in the image."""
    paths = (Path("/etc/pip.conf"), Path("/etc/ssl/certs"))
    return [part for path in paths if path.exists() for part in ("--volume", f"{path}:{path}:ro")]


def _logged(*command: str) -> str:
    """Runs it; its last line."""
    with (CACHE / _LOG).open("ab") as log:
        log.write(f"+ {' '.join(command)}\n".encode())
        log.flush()
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, check=True)
        log.write(ran.stdout)
    lines = ran.stdout.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
