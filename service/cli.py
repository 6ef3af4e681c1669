"""The command `eurouter`: reads arguments, calls what does the work, turns errors into a line and an exit code.

Exit codes: 0 done, 1 something is wrong (said on stderr), 2 the command line is.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from service import dlq_cli
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

    options = _parser(program).parse_args(arguments)
    named = getattr(options, "config", None) or env.get(CONFIG) or None
    config = None if named is None else Path(named)
    try:
        match options.command:
            case "serve":
                return _serve(Settings.load(config, env), config, env, options)
            case "work":
                return _work(Settings.load(config, env), config, env, wait=options.wait)
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


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eurouter",
        description="LLM routing as a gRPC and HTTP service.",
        epilog="Every setting with its default: `eurouter config check`, explained in docs/settings.md.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {metadata.version('eurouter')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands.add_parser)
    _add_work(commands.add_parser, program)

    config = commands.add_parser("config", help="check the settings: config check").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    about = "check settings and catalogue, and print what came of them"
    check = config.add_parser("check", help=about, description=f"{_sentence(about)} No secret is shown.")
    _add_config(check)

    _add_database(commands.add_parser)
    dlq_cli.add_commands(commands.add_parser, _add_config)

    keys = commands.add_parser("keys", help="make API keys: keys create").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    about = "make a key; it is shown once and stored nowhere"
    create = keys.add_parser("create", help=about, description=f"{_sentence(about)} The settings get its hash.")
    _add_config(create)
    create.add_argument("--name", required=True, help="what the key is for, for people")
    create.add_argument("--owner", required=True, help="whom calls with it are for")
    create.add_argument("--admin", action="store_true", help="let it do what operators do")
    _add_simulate(commands.add_parser)
    return parser


_AddCommand: TypeAlias = Callable[..., argparse.ArgumentParser]


def _add_serve(add: _AddCommand) -> None:
    serve = add(
        "serve",
        help="serve until SIGTERM or Ctrl-C",
        description="Serve until SIGTERM or Ctrl-C. Where the settings say nothing else: gRPC on 127.0.0.1:50051, "
        "HTTP on 127.0.0.1:8080, probes and metrics on 127.0.0.1:9090.",
    )
    _add_config(serve)
    serve.add_argument(
        "--demo",
        action="store_true",
        help="start a small local model as upstream, and show a streamed answer and one made in the background",
    )
    serve.add_argument("--once", action="store_true", help="the same, but end after that")
    _add_wait(serve)


def _add_work(add: _AddCommand, program: str) -> None:
    work = add(
        "work",
        prog=program or None,
        help="work on background responses until SIGTERM or Ctrl-C",
        description="Work on background responses until SIGTERM or Ctrl-C, beside services that share the "
        "database and have jobs.here set to false. Where the settings say nothing else: probes and metrics on "
        "127.0.0.1:9091.",
    )
    _add_config(work)
    _add_wait(work)


def _add_database(add: _AddCommand) -> None:
    actions = add("db", help="the database of stored responses: db migrate, db status").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    about = "bring the database's schema up to date"
    migrate = actions.add_parser(
        "migrate",
        help=about,
        description=f"{_sentence(about)} Does nothing when it is; several may run at once. The service does the "
        "same by itself unless database.auto_migrate is false.",
    )
    _add_config(migrate)
    migrate.add_argument(
        "--wait",
        action="store_true",
        help="wait for the database and for the file of its URL; leave a schema alone that a newer version made",
    )
    about = "say which database is used and whether its schema is up to date"
    status = actions.add_parser(
        "status",
        help=about,
        description=f"{_sentence(about)} Changes nothing; exit code 0 means ready to be used.",
    )
    _add_config(status)


def _add_simulate(add: _AddCommand) -> None:
    about = "serve the simulator: an upstream that runs no model"
    simulate = add(
        "simulate",
        help=about,
        description=f"{_sentence(about)} It speaks every dialect, each at the base URL that it prints when it "
        "starts; the model's name says how it behaves; GET / lists the names.",
    )
    simulate.add_argument("--host", default="127.0.0.1", help="a loopback address (default 127.0.0.1)")
    simulate.add_argument("--port", type=int, default=9000, help="0 takes a free one (default 9000)")
    simulate.add_argument(
        "--calls-kept",
        type=int,
        default=1000,
        metavar="NUMBER",
        help="how many of the last calls GET /simulator/calls shows (default 1000)",
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _add_config(parser: argparse.ArgumentParser) -> None:
    from service.settings import CONFIG

    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"the settings file (default: what {CONFIG} names)"
    )


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        action="store_true",
        help="wait for secrets' files, the database and its schema, with probes and metrics served meanwhile, "
        "instead of ending or starting without them",
    )


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
