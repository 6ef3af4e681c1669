"""A Dockerfile, read as BuildKit reads it: stages of instructions with their variables put in.

Only what ours uses is understood; anything else (heredocs, parser directives, `${NAME:-word}`) is refused, so that
nothing is misread in silence. What a good image is stands in `image_rules`, how one is made in `image_build`.
Reference: https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_VARIABLE: Final = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<braced>[^}]*)\})")
_PUT_IN: Final = frozenset({"ENV", "LABEL", "COPY", "WORKDIR", "USER", "EXPOSE", "STOPSIGNAL", "VOLUME"})
"""Where the builder itself puts variables in; in RUN it is the shell that does."""


class DockerfileError(ValueError):
    """The text is not one that is understood here."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """`value` is what follows the keyword, on one line, as it is written; `line` counts from 1."""

    keyword: str
    value: str
    line: int
    flags: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """Of the exec form its parts, else what a shell would make of it."""
        return self.exec_form() or shlex.split(self.value)

    def exec_form(self) -> list[str]:
        """The parts of a JSON array; none if it is written otherwise."""
        try:
            parts = json.loads(self.value)
        except json.JSONDecodeError:
            return []
        return [str(part) for part in parts] if isinstance(parts, list) else []

    def pairs(self) -> dict[str, str]:
        """What ENV, LABEL or ARG sets; of an ARG without a default ""."""
        return dict(word.partition("=")[::2] for word in shlex.split(self.value))


@dataclass(frozen=True, slots=True)
class Stage:
    """`base` is an image or the name of an earlier stage; `name` is "" if there is none."""

    name: str
    base: str
    instructions: Sequence[Instruction]

    def of(self, *keywords: str) -> list[Instruction]:
        """Those with one of these keywords, in order."""
        return [one for one in self.instructions if one.keyword in keywords]

    def last(self, keyword: str) -> Instruction | None:
        """The one that counts where only the last does."""
        return next((one for one in reversed(self.instructions) if one.keyword == keyword), None)

    def commands(self) -> Iterator[list[str]]:
        """Every simple command of every RUN, in words."""
        for run in self.of("RUN"):
            for command in re.split(r"&&|\|\||[;|\n]", run.value):
                if command.strip():
                    yield shlex.split(command)

    def variables(self, base: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
        """What the stage's RUNs see in the end: ENV over the base's, and ARG: `given`, or else its default.

        Defaults from before the first FROM count as given where the stage names them.
        """
        seen = dict(base)
        for one in self.of("ENV", "ARG"):
            for name, value in one.pairs().items():
                if one.keyword == "ENV":
                    seen[name] = substitute(value, seen)
                elif name in given or "=" in one.value:
                    seen.setdefault(name, given.get(name, value))
        return seen

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """What a container sees: ENV over the base's."""
        seen = dict(base)
        for one in self.of("ENV"):
            seen |= {name: substitute(value, seen) for name, value in one.pairs().items()}
        return seen


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """`arguments` are those before the first FROM, with their defaults."""

    arguments: Mapping[str, str]
    stages: Sequence[Stage]

    @property
    def runtime(self) -> Stage:
        """The stage that becomes the image."""
        return self.stages[-1]


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """`text` with $NAME and ${NAME} put in; what is not set is empty, as it is for the builder.

    Raises:
        DockerfileError: a form with a modifier.
    """

    def value(found: re.Match[str]) -> str:
        name = found["plain"] or found["braced"]
        if not re.fullmatch(r"\w+", name):
            raise DockerfileError(f"{found[0]}: only $NAME and ${{NAME}} are understood")
        return variables.get(name, "")

    return _VARIABLE.sub(value, text)


def used_variables(text: str) -> set[str]:
    """The names of variables in a text."""
    return {found["plain"] or found["braced"] for found in _VARIABLE.finditer(text)}


def read_dockerfile(text: str) -> Dockerfile:
    """The stages of a Dockerfile.

    Raises:
        DockerfileError: it has something that is not understood here, or no stage.
    """
    arguments: dict[str, str] = {}
    heads: list[tuple[str, str]] = []
    bodies: list[list[Instruction]] = []
    for one in _instructions(text):
        if one.keyword == "FROM":
            heads.append(_stage_head(one, arguments))
            bodies.append([])
        elif bodies:
            bodies[-1].append(one)
        elif one.keyword == "ARG":
            arguments |= one.pairs()
        else:
            raise DockerfileError(f"line {one.line}: {one.keyword} before the first FROM")
    if not heads:
        raise DockerfileError("there is no FROM")
    stages = [Stage(name, base, tuple(body)) for (name, base), body in zip(heads, bodies, strict=True)]
    return Dockerfile(arguments, stages)


def _stage_head(one: Instruction, arguments: Mapping[str, str]) -> tuple[str, str]:
    words = shlex.split(substitute(one.value, arguments))
    match words:
        case [base]:
            return "", base
        case [base, as_, name] if as_.upper() == "AS":
            return name, base
        case _:
            raise DockerfileError(f"line {one.line}: FROM {one.value} is not understood")


def _instructions(text: str) -> Iterator[Instruction]:
    for number, line in _joined(text):
        keyword, _, rest = line.partition(" ")
        if not re.fullmatch(r"[A-Za-z]+", keyword):
            raise DockerfileError(f"line {number}: {line[:40]} is no instruction")
        if keyword.upper() in ("RUN", "COPY") and "<<" in rest:
            raise DockerfileError(f"line {number}: heredocs are not understood")
        flags = {}
        while found := re.match(r"\s*--([a-z]+)=(\S+)\s", rest):
            flags[found[1]] = found[2]
            rest = rest[found.end() :]
        yield Instruction(keyword.upper(), rest.strip(), number, flags)


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Each instruction on one line, with the number of its first; comments may stand between its lines."""
    begun, parts = 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if re.match(r"#\s*(syntax|escape|check)\s*=", stripped) and not parts:
            raise DockerfileError(f"line {number}: parser directives are not understood")
        if stripped.startswith("#") or not stripped:
            continue
        begun = begun if parts else number
        parts.append(stripped.removesuffix("\\").strip())
        if not stripped.endswith("\\"):
            yield begun, " ".join(parts)
            parts = []
    if parts:
        raise DockerfileError(f"line {begun}: the last line goes on")


def put_in(one: Instruction, variables: Mapping[str, str]) -> str:
    """The instruction's value with variables put in where the builder does that."""
    return substitute(one.value, variables) if one.keyword in _PUT_IN else one.value
