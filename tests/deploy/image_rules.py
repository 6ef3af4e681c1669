"""What makes the image's Dockerfile a good one: each rule gives the sentences that say where it is broken.

A rule looks at the text only; what comes of it when it is carried out, `test_image_runs` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

from tests.deploy.image_file import Dockerfile, Instruction, Stage, put_in, used_variables

PINNED: Final = re.compile(r"(?:[a-z0-9.-]+/)*[a-z0-9-]+:\d+\.\d+(\.\d+)?[a-z0-9.-]*(@sha256:[0-9a-f]{64})?")
TOOLS: Final = frozenset(
    {"pip", "pip3", "apt", "apt-get", "apk", "dnf", "gcc", "g++", "cc", "make", "curl", "wget"}
)
BY_PACKAGES: Final = frozenset({"SOURCE_DATE_EPOCH"})
"""Build arguments that no line of the Dockerfile reads, but a program that it runs."""

AT_MOST_MEGABYTES: Final = 185
"""What /opt/eurouter may weigh; measured 170. The page says both."""

PREDEFINED: Final = frozenset({"PATH", "HOME"})
_LABEL: Final = "org.opencontainers.image."
_SECRET: Final = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL|PEPPER", re.IGNORECASE)
_MAKES: Final = frozenset({"RUN", "COPY", "WORKDIR"})


def bases(dockerfile: Dockerfile) -> Iterator[str]:
    """Each stage begins with an image that has a version, or with an earlier stage."""
    known: set[str] = set()
    for stage in dockerfile.stages:
        if stage.base not in known and not PINNED.fullmatch(stage.base):
            yield f"FROM {stage.base}: no version"
        known.add(stage.name)


def sources(dockerfile: Dockerfile, context: Iterable[str]) -> Iterator[str]:
    """What is copied from the repository is in the context, and nothing is there that isn't copied."""
    files, copied = set(context), set[str]()
    for source in _copied_sources(dockerfile):
        found = {path for path in files if path == source or path.startswith(f"{source.rstrip('/')}/")}
        if not found:
            yield f"COPY {source}: it is not in the context"
        copied |= found
    for path in sorted(files - copied):
        yield f"{path} is in the context and is copied nowhere"


def handed_on(dockerfile: Dockerfile) -> Iterator[str]:
    """What one stage takes from another was made there by an earlier line."""
    earlier: dict[str, Stage] = {}
    for stage in dockerfile.stages:
        for copy in stage.of("COPY"):
            origin = copy.flags.get("from")
            if origin is None:
                continue
            if origin not in earlier:
                yield f"line {copy.line}: no earlier stage is called {origin}"
                continue
            for path in copy.words[:-1]:
                made = (
                    word for one in earlier[origin].instructions if one.keyword in _MAKES for word in _made(one)
                )
                if not any(word == path or word.startswith(f"{path}/") for word in made):
                    yield f"line {copy.line}: nothing in {origin} makes {path}"
        earlier[stage.name] = stage


def user(dockerfile: Dockerfile) -> Iterator[str]:
    """The container's process is a number that isn't root's, and nothing is changed as another after that."""
    last = dockerfile.runtime.last("USER")
    if last is None:
        yield "no USER: it would be root"
        return
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", last.value):
        yield f"line {last.line}: USER {last.value} is not number:number, neither of them root's"
    for later in dockerfile.runtime.of("RUN", "COPY", "ADD"):
        if later.line > last.line:
            yield f"line {later.line}: {later.keyword} after USER"


def tools(dockerfile: Dockerfile) -> Iterator[str]:
    """The image's own stage installs nothing: no package manager, compiler or download runs in it."""
    for command in dockerfile.runtime.commands():
        if PurePosixPath(command[0]).name in TOOLS or re.search(r"-m (pip|ensurepip|venv)\b", " ".join(command)):
            yield f"it runs {' '.join(command[:4])}"


def locked(dockerfile: Dockerfile) -> Iterator[str]:
    """pip installs by hashes, or what was just built; and builds without asking an index for tools."""
    for command in (command for stage in dockerfile.stages for command in stage.commands()):
        if not PurePosixPath(command[0]).name.startswith("pip"):
            continue
        options = set(command)
        built_here = options >= {"--no-deps", "--no-index"}
        if "install" in options and "--require-hashes" not in options and not built_here:
            yield f"{' '.join(command)}: neither hashes nor what was built here"
        if "wheel" in options and not options >= {"--no-deps", "--no-build-isolation"}:
            yield f"{' '.join(command)}: its tools are not the locked ones"


def entry(dockerfile: Dockerfile, scripts: Iterable[str], subcommands: Iterable[str]) -> Iterator[str]:
    """The process is one of the package's scripts, without a shell before it, and what it is told exists."""
    for keyword, allowed in (("ENTRYPOINT", set(scripts)), ("CMD", set(subcommands))):
        one = dockerfile.runtime.last(keyword)
        form = one.exec_form() if one is not None else []
        if not form:
            yield f"{keyword} is missing or not in exec form: the shell would be process 1 and keep the signals"
        elif form[0] not in allowed:
            yield f"{keyword} names {form[0]}"
    stop = dockerfile.runtime.last("STOPSIGNAL")
    if stop is None or stop.value != "SIGTERM":
        yield "STOPSIGNAL is not SIGTERM, at which it drains"


def ports(dockerfile: Dockerfile, listened_on: Iterable[int]) -> Iterator[str]:
    """EXPOSE names what is listened on where the settings say nothing else."""
    said = {int(word.removesuffix("/tcp")) for one in dockerfile.runtime.of("EXPOSE") for word in one.words}
    for port in sorted(said ^ set(listened_on)):
        yield f"{port} is {'said, and nobody listens' if port in said else 'listened on and not said'}"


def variables(dockerfile: Dockerfile) -> Iterator[str]:
    """Every variable that is used was set before, every argument is used, and none holds a secret."""
    for stage in dockerfile.stages:
        known, used, declared = set(PREDEFINED), set[str](), set[str]()
        for one in stage.instructions:
            text = f"{one.value} {' '.join(one.flags.values())}"
            for name in sorted(used_variables(text) - known):
                yield f"line {one.line}: {name} is used and not set"
            used |= used_variables(text)
            if one.keyword in ("ARG", "ENV"):
                known |= set(one.pairs())
                declared |= set(one.pairs()) if one.keyword == "ARG" else set()
                yield from (f"line {one.line}: a secret in {name}" for name in one.pairs() if _SECRET.search(name))
        yield from (f"ARG {name} is used nowhere" for name in sorted(declared - used - BY_PACKAGES))


def labels(dockerfile: Dockerfile, expected: Mapping[str, str]) -> Iterator[str]:
    """The labels of the OCI say what the package says of itself, and those of a build are there to be given."""
    stage = dockerfile.runtime
    seen = stage.variables({}, dockerfile.arguments)
    found = {name: value for one in stage.of("LABEL") for name, value in _labels(one, seen).items()}
    for name, value in expected.items():
        said = found.get(_LABEL + name)
        if said is None:
            yield f"no label {_LABEL}{name}"
        elif said != value:
            yield f"the label {_LABEL}{name} is {said!r}, and {value!r} is right"
    for name in sorted(name for name in found if "://" in found[name]):
        yield f"the label {name} names a host that only a build can know"


def state(dockerfile: Dockerfile) -> Iterator[str]:
    """Nothing of the image is a volume without a name, and Python writes nothing beside its code."""
    yield from (f"line {one.line}: VOLUME" for one in dockerfile.runtime.of("VOLUME"))
    seen = dockerfile.runtime.environment({})
    yield from (
        f"{name} is not set" for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED") if not seen.get(name)
    )
    for stage in dockerfile.stages:
        last_of_all = [command for command in stage.commands() if "compileall" in command]
        if not any("unchecked-hash" in command for command in last_of_all):
            yield f"stage {stage.name or 'of the image'}: no bytecode, or such as depends on times"


def only_known(dockerfile: Dockerfile) -> Iterator[str]:
    """No ADD, which also downloads and unpacks, and no cache mounts, which not every builder has."""
    for stage in dockerfile.stages:
        yield from (f"line {one.line}: ADD" for one in stage.of("ADD"))
        yield from (f"line {one.line}: RUN --mount" for one in stage.of("RUN") if "mount" in one.flags)


def _copied_sources(dockerfile: Dockerfile) -> Iterator[str]:
    for stage in dockerfile.stages:
        for copy in stage.of("COPY"):
            if "from" not in copy.flags:
                yield from copy.words[:-1]


def _labels(one: Instruction, seen: Mapping[str, str]) -> dict[str, str]:
    return Instruction("LABEL", put_in(one, seen), one.line).pairs()


def _made(one: Instruction) -> list[str]:
    words = re.findall(r"[^\s\"'=;&|()]+", one.value)
    return [words[-1]] if one.keyword == "COPY" else words
