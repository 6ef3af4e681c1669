"""Settings from a YAML file and the environment, each mistake with its place and what to do about it."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource
from pydantic_settings.exceptions import SettingsError as UnreadableVariableError

from adapters.documents.problems import model_at, problems_in
from adapters.documents.read import Document, DocumentError, Problem, format_path, read_document
from adapters.providers.secrets import FOLDER
from service.settings.model import NESTING, PREFIX, Settings, check_across
from service.settings.needs import no_settings

CONFIG: Final = "EUROUTER_CONFIG"
"""The environment variable that names the settings file."""

_OURS: Final = frozenset({CONFIG, FOLDER, "EUROUTER_MODEL_PYTHON"})
# Kubernetes sets these for every Service, and one called eurouter or eurouter-… makes them look like ours.
_SERVICE_LINK: Final = re.compile(r".*(_SERVICE_HOST|_SERVICE_PORT(_.*)?|_PORT(_\d+_(TCP|UDP|SCTP)(_.+)?)?)")


class SettingsError(Exception):
    """Settings that can't be used: one line per problem."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class SettingsFileError(SettingsError):
    """There is no settings file, or nobody may read it: that may come right while the process runs."""


def load(path: Path | None, env: Mapping[str, str], *, to_serve: bool = True) -> Settings:
    """What `Settings.load` says. Not `to_serve`: sections may still contradict each other, as they do before
    the first key was made.
    """
    document = _read(path)
    variables = _variables(env)
    place = _Place(path, document, variables)
    settings = _settings(_merged(document.data, variables), place)
    contradictions = check_across(settings) if to_serve else ()
    if problems := [place.line(where, message) for where, message in contradictions]:
        raise SettingsError(problems)
    if problems := list(_unknown_variables(env, document)):
        raise SettingsError(problems)
    return settings


def sections_of_environment(env: Mapping[str, str], *sections: str) -> Settings:
    """What the environment alone says of some sections; all the rest is as by default.

    Raises:
        SettingsError: it says something wrong of them.
    """
    variables = _variables(env)
    given = {name: variables[name] for name in sections if name in variables}
    return _settings(given, _Place(None, Document("", {}, None), variables))


def _read(path: Path | None) -> Document:
    if path is None:
        return Document("", {}, None)
    try:
        return read_document(path)
    except DocumentError as error:
        if isinstance(error.__cause__, OSError) and (why := no_settings(path)) is not None:
            raise SettingsFileError([why]) from None
        raise SettingsError(str(error).splitlines()) from None


def _settings(values: Mapping[str, Any], place: _Place) -> Settings:
    # pydantic-settings would take these for arguments of its own, such as _env_file.
    if own := [key for key in values if key.startswith("_")]:
        raise SettingsError([place.line((key,), "is not a known key") for key in own])
    try:
        return Settings(**values)
    except ValidationError as error:
        found = [
            (tuple(detail["loc"]), problem.message)
            for detail, problem in zip(
                error.errors(include_url=False), problems_in(error, Settings, place.document), strict=True
            )
        ]
        raise SettingsError([place.line(where, message) for where, message in found]) from None


class _Environment(EnvSettingsSource):
    """pydantic-settings' reading of nested variables, over a mapping that is given instead of os.environ."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._given = env
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._given.items()}


def variables_in(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that set something."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    return {name: value for name, value in env.items() if name.upper().partition(NESTING)[0] in known}


def _variables(env: Mapping[str, str]) -> dict[str, Any]:
    """What the environment sets, nested like the file."""
    ours = variables_in(env)
    try:
        return _Environment(ours)()
    except UnreadableVariableError as error:
        _raise_unreadable(ours, error)


def _raise_unreadable(env: Mapping[str, str], error: UnreadableVariableError) -> NoReturn:
    for name, value in env.items():
        if value.lstrip()[:1] in ("[", "{"):
            try:
                json.loads(value)
            except ValueError as wrong:
                raise SettingsError([f"{name}: is not valid JSON: {wrong}"]) from None
    match = re.search(r'field "(\w+)"', str(error))
    name = f"{PREFIX}{match[1].upper()}" if match else "an environment variable"
    raise SettingsError([f'{name}: must be JSON, such as ["a", "b"] for a list']) from None


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


class _Place:
    """Says of a key where it was set and how to set it."""

    def __init__(self, path: Path | None, document: Document, variables: Mapping[str, Any]) -> None:
        self._file = path.name if path is not None else "config.yaml"
        self.document = document
        self._variables = variables

    def line(self, where: tuple[int | str, ...], message: str) -> str:
        variable = variable_for(where)
        written = self.document.line(where) if _is_in(self.document.data, where) else None
        if _is_in(self._variables, _keys(where)):
            how = f"it comes from {PREFIX}{NESTING.join(_keys(where)).upper()}"
        elif not where:
            how = f"in {self._file}"
        else:
            line = f", line {written}" if written is not None else ""
            how = f"{format_path(where)} in {self._file}{line}"
            how = f"set {variable} or {how}" if variable is not None else f"mend {how}"
        return str(Problem(format_path(where), f"{message} ({how})"))


def variable_for(where: tuple[int | str, ...]) -> str | None:
    """The environment variable that sets a key; None for what is inside a list or unknown."""
    keys = _keys(where)
    owner: type[BaseModel] | None = model_at(Settings, keys[:-1]) if keys else None
    if not keys or len(keys) != len(where) or owner is None or keys[-1] not in owner.model_fields:
        return None
    return PREFIX + NESTING.join(keys).upper()


def _keys(where: tuple[int | str, ...]) -> tuple[str, ...]:
    keys = []
    for part in where:
        if isinstance(part, int):
            break
        keys.append(part)
    return tuple(keys)


def _is_in(data: Any, where: tuple[int | str, ...]) -> bool:
    for part in where:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return False
    return bool(where)


def _unknown_variables(env: Mapping[str, str], document: Document) -> Iterator[str]:
    """Variables that look like settings and are none: a typing error must not pass in silence.

    Nested names are checked with the document. A name that a secret's reference uses is the operator's own.
    """
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | _OURS
    referenced = set(re.findall(r"env:(\w+)", json.dumps(document.data, default=str))) | {
        value.removeprefix("env:") for value in env.values() if value.startswith("env:")
    }
    for name in sorted(env):
        first, nested, _ = name.partition(NESTING)
        if not name.startswith(PREFIX) or name in referenced or first in known:
            continue
        if not nested and _SERVICE_LINK.fullmatch(name):
            continue
        near = difflib.get_close_matches(first, sorted(known), n=1, cutoff=0.8)
        if near:
            better = near[0] + name[len(first) :]
            yield f"{name}: is not a known setting; did you mean {better}? (environment variable)"
        elif nested:
            yield f"{name}: is not a known setting; see docs/settings.md (environment variable)"
