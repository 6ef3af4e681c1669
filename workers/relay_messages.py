"""What a relay makes of the rows that it read: messages, and rows that there is no use in sending."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain.outbox import OutboxKind, OutboxRow
from service.domain.publishing import Message
from workers.relay_backlog import Backlog
from workers.relay_ports import RelayTelemetry, Render
from workers.relay_settings import RelaySettings


class Messages:
    """Makes them. A row that can't be made one waits in the backlog, with its line."""

    def __init__(self, render: Render, backlog: Backlog, telemetry: RelayTelemetry) -> None:
        self._render = render
        self._backlog = backlog
        self._telemetry = telemetry

    def of(
        self, rows: Sequence[OutboxRow], now: float, settings: RelaySettings
    ) -> tuple[list[tuple[OutboxRow, Message]], list[OutboxRow]]:
        """Rows with their messages, and those to be forgotten."""
        batch: list[tuple[OutboxRow, Message]] = []
        dropped: list[OutboxRow] = []
        for row in rows:
            if _is_useless(row, settings):
                dropped.append(row)
                continue
            try:
                message = self._message(row, settings)
            except Exception as error:  # noqa: BLE001 - one row must not stop the others
                self._telemetry.crashed(row.record.kind, error)
                self._backlog.put_aside(row, now + settings.aside)
                continue
            if message is None:
                dropped.append(row)
            else:
                batch.append((row, message))
        allowed = {row.id for row in self._backlog.in_line([row for row, _ in batch])}
        return [one for one in batch if one[0].id in allowed], dropped

    def _message(self, row: OutboxRow, settings: RelaySettings) -> Message | None:
        small = self._backlog.is_small(row)
        message = self._render(row, small=small)
        is_result = row.record.kind is OutboxKind.RESULT
        if is_result and message is not None and len(message.value or b"") > settings.most_value and not small:
            message = self._render(row, small=True)
        return message


def _is_useless(row: OutboxRow, settings: RelaySettings) -> bool:
    """Hints that are too old to help, and results whose response is gone."""
    if row.record.kind is OutboxKind.WAKE:
        return row.age > settings.stale
    return row.record.kind is OutboxKind.RESULT and row.finished is None
