"""What the command line of `eurouter` takes: commands, options, and their help. Nothing is done here.

No module that takes time is imported before `parser_of` is called: SIGTERM is not handled earlier.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

from service import dlq_cli


def parser_of(program: str) -> argparse.ArgumentParser:
    """Reads the command line; `program` as `service.cli.main` has it."""
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
    create.add_argument("--name", required=True, type=_in_key_row("name"), help="what the key is for, for people")
    create.add_argument("--owner", required=True, type=_in_key_row("owner"), help="whom calls with it are for")
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
        help="wait for the settings file, the database and the file of its URL; leave a schema alone that a newer "
        "version made",
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
    simulate.add_argument(
        "--port", type=_port, metavar="NUMBER", default=9000, help="0 takes a free one (default 9000)"
    )
    simulate.add_argument(
        "--calls-kept",
        type=int,
        default=1000,
        metavar="NUMBER",
        help="how many of the last calls GET /simulator/calls shows (default 1000)",
    )


def _in_key_row(field: str) -> Callable[[str], str]:
    """Takes what the settings take for `field` of a key's row: none is made that they would refuse."""

    def checked(text: str) -> str:
        from pydantic import ValidationError

        from adapters.documents.problems import problems_in
        from adapters.documents.read import Document
        from service.settings.access import KeySettings

        row = {"id": "x" * 12, "hash": "0" * 64, "owner": "x", field: text}
        try:
            KeySettings.model_validate(row)
        except ValidationError as error:
            (problem,) = problems_in(error, KeySettings, Document("", {}, None))
            raise argparse.ArgumentTypeError(problem.message) from None
        return text

    return checked


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return int(text)


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
        help="wait for the settings file, secrets' files, the database and its schema, with probes and metrics "
        "served meanwhile, instead of ending or starting without them",
    )
