"""The command `eurouter`: calls what does the work, turns errors into a line and an exit code.

Which arguments there are is known to service.arguments. Exit codes: 0 done, 1 something is wrong (said on stderr),
2 the command line is.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from service import dlq_cli
from service.arguments import parser_of
from service.sigterm import ended_by_sigterm

if TYPE_CHECKING:
    # Imported where it is used: what takes time comes after SIGTERM is handled.
    from service.settings import Settings

_NO_PEPPER: Final = """\
There is no pepper yet: the secret that keys are hashed with. Make one, once, and keep it:

  export KEY_PEPPER=$(openssl rand -base64 32)

and name it in the settings, where the secret itself must not stand:

  key_pepper: env:KEY_PEPPER

(or EUROUTER_KEY_PEPPER=env:KEY_PEPPER in the environment; file:PATH works as well)
"""


def main(
    arguments: Sequence[str] | None = None, env: Mapping[str, str] | None = None, *, program: str = ""
) -> int:
    """The console script. `arguments` and `env` are the process's own when left out.

    `program` is what the caller typed in place of the script's name and first argument.
    """
    with ended_by_sigterm():
        return _main(arguments, os.environ if env is None else env, program)


def _main(arguments: Sequence[str] | None, env: Mapping[str, str], program: str) -> int:
    from service.settings import CONFIG, Settings, SettingsError

    options = parser_of(program).parse_args(arguments)
    named = getattr(options, "config", None) or env.get(CONFIG) or None
    config = None if named is None else Path(named)
    try:
        match options.command:
            case "serve" | "work":
                found = _settings(config, env, options)
                return found if isinstance(found, int) else _run(found, config, env, options)
            case "config":
                return _check(Settings.load(config, env), config, env)
            case "db":
                return _database(config, env, options.action, wait=getattr(options, "wait", False))
            case "dlq":
                return dlq_cli.run(options, config, env)
            case "keys":
                return _create_key(config, env, options.name, options.owner, admin=options.admin)
            case _:
                return _simulate(options.host, options.port, options.calls_kept)
    except SettingsError as error:
        return _fail(str(error))


def _settings(config: Path | None, env: Mapping[str, str], options: argparse.Namespace) -> Settings | int:
    """What they are; an exit code: the process waited for their file, and was told to stop."""
    from service.settings import Settings, SettingsFileError

    try:
        return Settings.load(config, env)
    except SettingsFileError:
        if config is None or not options.wait:
            raise
    from service.admin_place import OF_SERVICE, OF_WORKER
    from service.waiting_for_settings import wait_for_settings

    return wait_for_settings(config, env, OF_SERVICE if options.command == "serve" else OF_WORKER)


def _run(settings: Settings, config: Path | None, env: Mapping[str, str], options: argparse.Namespace) -> int:
    if options.command == "serve":
        return _serve(settings, config, env, options)
    return _work(settings, config, env, wait=options.wait)


def _serve(settings: Settings, config: Path | None, env: Mapping[str, str], options: argparse.Namespace) -> int:
    if not options.wait and (found := _missing(settings, env, has_doors=True)):
        return _fail("\n".join(found))
    from service.serve import ServeOptions, serve

    demo = options.demo or options.once
    return serve(settings, ServeOptions(config=config, demo=demo, once=options.once, wait=options.wait))


def _work(settings: Settings, config: Path | None, env: Mapping[str, str], *, wait: bool) -> int:
    if not wait and (found := _missing(settings, env, has_doors=False)):
        return _fail("\n".join(found))
    from service.worker_service import work

    return work(settings, config, wait=wait)


def _missing(settings: Settings, env: Mapping[str, str], *, has_doors: bool) -> list[str]:
    from adapters.providers.secrets import Secrets
    from service.settings.show import problems

    return list(problems(settings, Secrets(env).resolve, has_doors=has_doors))


def _check(settings: Settings, config: Path | None, env: Mapping[str, str]) -> int:
    from adapters.catalog import DEFAULT_CATALOG, build_catalog, old_facts, read_catalog
    from adapters.documents.read import DocumentError
    from adapters.providers.registry import DIALECTS
    from adapters.providers.secrets import Secrets
    from service.settings.load import variables_in
    from service.settings.show import catalog_lines, effective_yaml, problems, usable_models, warnings

    secrets = Secrets(env)
    over = sorted(variables_in(env))
    _say(
        f"# Settings: {config or 'no file, only defaults'}" + (f", and over it {', '.join(over)}" if over else "")
    )
    _say(effective_yaml(settings, env))
    path = settings.catalog.path or DEFAULT_CATALOG
    try:
        document = read_catalog(path)
    except DocumentError as error:
        return _fail(str(error))
    dialects = {name: dialect.expressible_with for name, dialect in DIALECTS.items()}
    catalog = build_catalog(document, dialects, secrets.is_configured, rules=settings.rule_rows)
    _say(f"# Catalogue: {path}")
    for line in catalog_lines(catalog):
        _say(f"#   {line}")
    discovering = any(part.discover for part in document.providers)
    more = "; servers with discover: true are asked for theirs once it serves" if discovering else ""
    count = len(catalog.models)
    _say(f"# {count} model{'' if count == 1 else 's'}, of which {usable_models(catalog)} can be used now{more}")
    for warning in (
        *warnings(settings, catalog, dialects=dialects, discovering=discovering),
        *old_facts(document, datetime.now(UTC).date()),
    ):
        _say(f"# Warning: {warning}")
    found = list(problems(settings, secrets.resolve))
    return _fail("\n".join(found)) if found else 0


def _database(config: Path | None, env: Mapping[str, str], action: str, *, wait: bool) -> int:
    from service.db_commands import DatabaseCommandError, migrate, status
    from service.migrating import migrate_when_there
    from service.settings.load import load

    if wait:
        return migrate_when_there(lambda: load(config, env, to_serve=False), env)
    settings = load(config, env, to_serve=False)
    try:
        ready, text = migrate(settings, env) if action == "migrate" else status(settings, env)
    except DatabaseCommandError as error:
        return _fail(str(error))
    _say(text)
    return 0 if ready else 1


def _create_key(config: Path | None, env: Mapping[str, str], name: str, owner: str, *, admin: bool) -> int:
    import yaml

    from adapters.keys import hash_secret, make_key, public_id
    from adapters.providers.secrets import SecretError, Secrets
    from service.settings.load import load
    from service.settings.show import problems

    settings = load(config, env, to_serve=False)
    if settings.key_pepper is None:
        return _fail(_NO_PEPPER)
    secrets = Secrets(env)
    if found := [problem for problem in problems(settings, secrets.resolve) if problem.startswith("key_pepper")]:
        return _fail("\n".join(found))
    try:
        pepper = secrets.resolve(settings.key_pepper).encode()
    except SecretError as error:
        return _fail(f"key_pepper: {error}")
    key = make_key()
    row: dict[str, object] = {"id": public_id(key), "hash": hash_secret(key, pepper), "name": name, "owner": owner}
    if admin:
        row["admin"] = True
    text = yaml.safe_dump([row], sort_keys=False, allow_unicode=True, width=100)
    _say(f"The key, shown this once and stored nowhere:\n\n  {key}\n")
    _say("Add this row to the settings, under `keys:`\n")
    _say("".join(f"  {line}\n" for line in text.splitlines()))
    return 0


def _simulate(host: str, port: int, calls_kept: int) -> int:
    from adapters.providers.simulator.__main__ import main as simulate

    return simulate(["--host", host, "--port", str(port), "--calls-kept", str(calls_kept)])


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _fail(text: str) -> int:
    sys.stderr.write(f"{text.rstrip()}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
