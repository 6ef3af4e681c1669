"""The arguments of `eurouter dlq`, and its exit codes, which are the CLI's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

_LISTED: Final = 50
_REDRIVEN: Final = 1000
_MOST_DIGITS: Final = 7
_HOW: Final = (
    "Works on Kafka, and to redrive on the database, by the service's own settings: no service has to run, and no "
    "API key is asked for."
)


def add_commands(
    add: Callable[..., argparse.ArgumentParser], add_config: Callable[[argparse.ArgumentParser], None]
) -> None:
    """Adds `dlq` with its actions."""
    about = "records that were submitted by Kafka and are no jobs: dlq list, dlq show, dlq redrive"
    actions = add("dlq", help=about).add_subparsers(dest="action", required=True, metavar="ACTION")

    about = "list dead letters, newest first"
    listed = actions.add_parser("list", help=about, description=f"List dead letters, newest first. {_HOW}")
    add_config(listed)
    _add_filters(listed, _LISTED)
    listed.add_argument("--json", action="store_true", help="print a line of JSON for each")

    about = "show one with its content: key, headers and value"
    shown = actions.add_parser("show", help=about, description=f"Show one with its key, headers and value. {_HOW}")
    add_config(shown)
    shown.add_argument("id", metavar="ID", help="as `dlq list` shows it: partition, colon, offset")

    about = "submit dead letters again, as they came"
    redriven = actions.add_parser(
        "redrive",
        help=about,
        description="Submit dead letters again, as they came: those with these ids, or else those that pass the "
        "filters, of which there has to be one. One whose job there is already makes no other, so it may be run "
        f"again. Exit code 1 when some are still no jobs. {_HOW}",
    )
    add_config(redriven)
    redriven.add_argument("ids", metavar="ID", nargs="*", help="as `dlq list` shows it")
    _add_filters(redriven, _REDRIVEN)
    redriven.add_argument("--vouched-owner", metavar="NAME", help="whose those are that have no owner")
    redriven.add_argument(
        "--dry-run",
        action="store_true",
        help="only say which would be submitted; what their requests ask for is judged when they are",
    )
    redriven.set_defaults(usage=redriven)


def _add_filters(parser: argparse.ArgumentParser, limit: int) -> None:
    parser.add_argument("--owner", metavar="NAME", help="only this owner's")
    parser.add_argument(
        "--reason", metavar="REASON", action="append", default=[], help="only with this reason; may be repeated"
    )
    parser.add_argument("--topic", metavar="NAME", help="only those that were submitted to this topic")
    parser.add_argument("--limit", type=_count, metavar="NUMBER", help=f"at most so many (default {limit})")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text)):
        raise argparse.ArgumentTypeError("must be a number from 1 to 9999999")
    return int(text)


def run(options: argparse.Namespace, config: Path | None, env: Mapping[str, str]) -> int:
    """Does what the arguments say; the exit code.

    Raises:
        SettingsError: the settings can't be used.
    """
    if options.action == "redrive":
        _check_redrive(options)
    # What these import takes long, and most commands need none of it.
    from service import dlq_commands as dlq
    from service.settings.load import load

    place = dlq.Place(load(config, env, to_serve=False), config, env)
    try:
        if options.action == "show":
            dlq.show_letter(place, options.id, _say)
            return 0
        limit = options.limit or (_LISTED if options.action == "list" else _REDRIVEN)
        which = dlq.Which(limit, options.owner, options.reason, options.topic)
        if options.action == "list":
            dlq.list_letters(place, which, _say, as_json=options.json)
            return 0
        vouched, dry_run = options.vouched_owner, options.dry_run
        return 0 if dlq.redrive_letters(place, options.ids, which, vouched, _say, dry_run=dry_run) else 1
    except dlq.DlqCommandError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _check_redrive(options: argparse.Namespace) -> None:
    """Ends with exit code 2 when the arguments don't say which letters."""
    filtered = options.owner is not None or bool(options.reason) or options.topic is not None
    if options.ids and (filtered or options.limit):
        options.usage.error("IDs say which letters: leave out --owner, --reason, --topic and --limit")
    if not options.ids and not filtered:
        options.usage.error("which letters? Name IDs, or use --owner, --reason or --topic")
    if options.owner is not None and options.vouched_owner is not None:
        options.usage.error("--vouched-owner is for those without an owner: leave it out, or --owner")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
