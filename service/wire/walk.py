"""The state of one reading: the problems found so far. Paths are made only where there is a problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from service.wire.errors import MAX_VIOLATIONS, InvalidValueError, Problem

MAX_ENTRIES: Final = 50_000
"""Of all lists of a document together. Each costs microseconds while the event loop waits: 50,000 messages of two
bytes took 0.3 s to read and judge, and fit a body of 2 MB."""

Read = Callable[[Any, object, "Walk"], None]


class Walk:
    """Collects problems; every `into` adds its segment to those that were found below it."""

    __slots__ = ("_entries", "_hint_names", "_room", "problems")

    def __init__(self, hint_paths: frozenset[str]) -> None:
        self.problems: list[Problem] = []
        self._hint_names = {path.rpartition(".")[2] for path in hint_paths}
        self._room = MAX_VIOLATIONS
        self._entries = MAX_ENTRIES

    def enter(self, entries: int) -> None:
        """A list of so many entries is about to be read.

        Raises:
            InvalidValueError: there are too many in all.
        """
        self._entries -= entries
        if self._entries < 0:
            raise InvalidValueError(f"too long: all lists of a request may hold {MAX_ENTRIES} entries together")

    def into(self, segment: str | int, read: Read, message: Any, value: object) -> None:
        """Reads a value that stands under `segment`."""
        problems = self.problems
        before = len(problems)
        try:
            read(message, value, self)
        except InvalidValueError as error:
            self._add(Problem(str(error)))
        except UnicodeEncodeError:
            self._add(Problem("holds invalid Unicode (a lone surrogate)"))
        for problem in problems[before:]:
            problem.path.append(segment)

    def problem(self, segment: str, text: str) -> None:
        """Something is wrong with the field `segment` of the object that is being read."""
        problem = Problem(text)
        problem.path.append(segment)
        self._add(problem)

    def unknown(self, name: str) -> None:
        """The object that is being read has a field that the message does not name."""
        problem = Problem("unknown field; remove it", unknown=True)
        problem.path.append(name)
        if name in self._hint_names:
            # Whether it is a hint shows only with the whole path; until then it takes no room.
            self.problems.append(problem)
        else:
            self._add(problem)

    def _add(self, problem: Problem) -> None:
        if self._room:
            self._room -= 1
            self.problems.append(problem)
