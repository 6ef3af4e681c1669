"""The Dockerfile keeps each rule of `image_rules`, and each rule finds a Dockerfile that breaks it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement

from service.cli import main
from service.settings import Settings
from tests.deploy import image_rules as rules
from tests.deploy.image_context import files_of_the_repository, in_context
from tests.deploy.image_file import Dockerfile, DockerfileError, read_dockerfile
from tests.support.parts import ROOT, require

DEPLOY: Final = ROOT / "deploy"
TEXT: Final = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
IGNORED: Final = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8")
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SUBCOMMANDS: Final = ("serve", "work", "db")
Rule = Callable[[Dockerfile], Iterable[str]]


def found(rule: Rule, *changes: tuple[str, str]) -> list[str]:
    """What the rule says of our Dockerfile after each first text became the second."""
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return list(rule(read_dockerfile(text)))


def default_ports() -> list[int]:
    settings = Settings.load(None, {})
    return [settings.grpc.port, settings.http.port, settings.admin.port, settings.jobs.admin_port]


def test_what_it_is_built_on_has_a_version() -> None:
    assert not found(rules.bases)
    assert (
        found(rules.bases, ("BASE=python:3.11.14-slim-bookworm", "BASE=python")) == ["FROM python: no version"] * 2
    )
    assert found(rules.bases, ("BASE=python:3.11.14-slim-bookworm", "BASE=python:latest"))
    digest = f"@sha256:{'0a' * 32}"
    assert not found(rules.bases, ("3.11.14-slim-bookworm", f"3.11.14-slim-bookworm{digest}"))


def test_what_is_copied_is_there_and_nothing_else_gets_into_a_build() -> None:
    context = in_context(files_of_the_repository(), IGNORED)
    rule: Rule = lambda dockerfile: rules.sources(dockerfile, context)  # noqa: E731
    assert not found(rule)
    assert found(rule, ("COPY workers workers", "COPY jobs jobs"))[0] == "COPY jobs: it is not in the context"
    assert "README.md is in the context and is copied nowhere" in found(
        rule, ("pyproject.toml README.md", "pyproject.toml")
    )


def test_everything_that_the_package_is_made_of_is_copied() -> None:
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    packages = hatch["build"]["targets"]["wheel"]["packages"]
    copied = {source for copy in read_dockerfile(TEXT).stages[0].of("COPY") for source in copy.words[:-1]}
    assert {*packages, PROJECT["readme"], *PROJECT["license-files"]} <= copied


def test_a_stage_takes_only_what_an_earlier_one_made() -> None:
    assert not found(rules.handed_on)
    assert found(rules.handed_on, ("--from=build", "--from=builder"))
    assert found(rules.handed_on, ("COPY --from=build /opt/eurouter", "COPY --from=build /opt/router"))


def test_it_runs_as_a_number_that_is_not_roots() -> None:
    assert not found(rules.user)
    for wrong in ("USER eurouter", "USER 0:0", "USER 10001", "USER 10001:0", ""):
        assert found(rules.user, ("USER 10001:10001", wrong)), wrong
    assert found(rules.user, ("EXPOSE", "RUN touch /opt/later\nEXPOSE"))


def test_nothing_is_installed_in_the_stage_that_becomes_the_image() -> None:
    assert not found(rules.tools)
    for wrong in ("apt-get install -y gcc", "/usr/local/bin/pip install uvloop", "python -m pip install uvloop"):
        assert found(rules.tools, ("USER 10001", f"RUN true && {wrong}\nUSER 10001")), wrong


def test_pip_takes_nothing_that_is_not_locked() -> None:
    assert not found(rules.locked)
    assert len(found(rules.locked, (" --require-hashes", ""))) == 2
    assert len(found(rules.locked, ("    --require-hashes", "    "))) == 1
    assert len(found(rules.locked, ("--no-build-isolation ", ""))) == 1
    assert len(found(rules.locked, ("--no-deps --no-index", "--no-index"))) == 1


def test_the_locked_build_tools_are_those_that_the_package_asks_for() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    text = (ROOT / "requirements-build.txt").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([\w-]+)==([\w.]+)", text, re.MULTILINE))
    for one in map(Requirement, asked):
        assert one.specifier.contains(locked[one.name]), one


def test_its_process_is_the_packages_own_command_without_a_shell() -> None:
    rule: Rule = lambda dockerfile: rules.entry(dockerfile, PROJECT["scripts"], SUBCOMMANDS)  # noqa: E731
    assert not found(rule)
    assert found(rule, ('ENTRYPOINT ["eurouter"]', "ENTRYPOINT eurouter"))
    assert found(rule, ('ENTRYPOINT ["eurouter"]', 'ENTRYPOINT ["router"]'))
    assert found(rule, ('CMD ["serve"]', 'CMD ["sevre"]'))
    assert found(rule, ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL"))


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_the_commands_that_it_may_be_told_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"], {})
    assert ended.value.code == 0
    assert f"usage: eurouter {command}" in capsys.readouterr().out


def test_the_ports_that_it_names_are_those_of_the_settings() -> None:
    rule: Rule = lambda dockerfile: rules.ports(dockerfile, default_ports())  # noqa: E731
    assert not found(rule)
    assert found(rule, (" 9091", "")) == ["9091 is listened on and not said"]
    assert found(rule, (" 9091", " 9091 22")) == ["22 is said, and nobody listens"]


def test_every_variable_is_set_before_it_is_used_and_none_is_a_secret() -> None:
    assert not found(rules.variables)
    assert found(rules.variables, ("ARG REVISION=\n", "")) == [
        f"line {line_of('LABEL') - 1}: REVISION is used and not set"
    ]
    assert found(rules.variables, ("ARG CREATED=", "ARG CREATED=\nARG COLOUR=red")) == [
        "ARG COLOUR is used nowhere"
    ]
    assert found(rules.variables, ("ENV PATH", "ENV INDEX_PASSWORD=x PATH"))


def test_its_labels_say_what_the_package_says() -> None:
    expected = {
        "title": PROJECT["name"],
        "description": "LLM routing as a gRPC service, with data residency as a hard filter",
        "licenses": PROJECT["license"],
        "version": PROJECT["version"],
        **dict.fromkeys(("revision", "created", "source"), ""),
    }
    rule: Rule = lambda dockerfile: rules.labels(dockerfile, expected)  # noqa: E731
    assert not found(rule)
    assert found(rule, ("image.licenses", "image.license")) == ["no label org.opencontainers.image.licenses"]
    assert found(rule, (f"VERSION={PROJECT['version']}", "VERSION=0.0.1"))
    assert found(rule, ("ARG SOURCE=\n", "ARG SOURCE=https://example.org\n"))


def test_it_keeps_and_writes_nothing_of_its_own() -> None:
    assert not found(rules.state)
    assert found(rules.state, ("USER 10001", "VOLUME /var/lib/eurouter\nUSER 10001"))
    assert found(rules.state, ("PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED", "PYTHONUNBUFFERED"))
    assert len(found(rules.state, ("--invalidation-mode unchecked-hash", ""))) == 2


def test_any_builder_can_build_it() -> None:
    assert not found(rules.only_known)
    assert found(rules.only_known, ("COPY workers", "ADD workers"))
    assert found(rules.only_known, ("RUN rm", "RUN --mount=type=cache,target=/root/.cache rm"))


def test_botocores_descriptions_that_stay_are_those_that_its_credentials_call() -> None:
    import botocore

    kept = set(re.findall(r"! -name (\S+)", TEXT))
    folder = Path(botocore.__file__).parent
    code = "".join((folder / name).read_text(encoding="utf-8") for name in ("credentials.py", "tokens.py"))
    called = set(re.findall(r"client(?:_creator)?\(\s*['\"]([a-z-]+)['\"]", code))
    assert {"sts", "sso"} <= called <= kept
    assert all((folder / "data" / name).is_dir() for name in kept)


def test_what_is_not_understood_is_refused_and_not_misread() -> None:
    for text in (
        "# syntax=docker/dockerfile:1\nFROM python:3.11",
        "FROM python:3.11\nRUN <<EOF\ntrue\nEOF",
        "FROM ${BASE:-python:3.11}",
        "FROM python:3.11\n--from=build",
        "FROM python:3.11\nRUN true \\",
        "WORKDIR /src",
        "",
    ):
        with pytest.raises(DockerfileError):
            read_dockerfile(text)


def test_a_comment_between_the_lines_of_an_instruction_is_no_part_of_it() -> None:
    (stage,) = read_dockerfile("FROM a:1.0\nRUN one \\\n  # not this\n\n  && two\n").stages
    assert list(stage.commands()) == [["one"], ["two"]]


def test_hadolint_is_content() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    require("hadolint", hadolint.exists(), "it comes with `make setup` on x86-64")
    command = [str(hadolint), "--no-color", "--config", str(DEPLOY / ".hadolint.yaml")]
    ran = subprocess.run([*command, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    broken = subprocess.run(
        [*command, "-"],
        input=TEXT.replace("WORKDIR /src", "WORKDIR src"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "DL3000" in broken.stdout


def line_of(keyword: str) -> int:
    return read_dockerfile(TEXT).runtime.of(keyword)[0].line


def test_the_images_page_names_every_build_argument_and_what_it_is_built_on() -> None:
    page = (ROOT / "docs" / "kubernetes" / "image.md").read_text(encoding="utf-8")
    dockerfile = read_dockerfile(TEXT)
    arguments = {
        *dockerfile.arguments,
        *(name for stage in dockerfile.stages for one in stage.of("ARG") for name in one.pairs()),
    }
    table = page.partition("## Build arguments")[2].partition("```")[0]
    assert set(re.findall(r"`([A-Z_]+)`", table)) == arguments
    assert f"| `BASE` | `{dockerfile.arguments['BASE']}` |" in table
    assert {int(port) for port in re.findall(r"\b(\d{4,5}) (?:gRPC|HTTP|probes|those)", page)} == set(
        default_ports()
    )
    assert f"A test ends at more than {rules.AT_MOST_MEGABYTES} MB." in page
