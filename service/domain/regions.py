"""Which countries make up the regions that data residency is asked in. Codes only; no endpoint, no preference.

Codes are ISO 3166-1 alpha-2 in lower case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

# Source: https://european-union.europa.eu/principles-countries-history/eu-countries_en
EU: Final[frozenset[str]] = frozenset(
    "at be bg cy cz de dk ee es fi fr gr hr hu ie it lt lu lv mt nl pl pt ro se si sk".split()  # noqa: SIM905  one line reads better
)
"""The member states of the European Union."""

# Source: https://www.efta.int/eea/eea-agreement: the member states with Iceland, Liechtenstein and Norway.
EEA: Final[frozenset[str]] = EU | {"is", "li", "no"}
"""The countries of the European Economic Area."""

# Source: https://commission.europa.eu/law/law-topic/data-protection/international-dimension-data-protection/
# adequacy-decisions_en, decisions on the GDPR up to that on the United States of 2023.
ADEQUATE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ad": "",
        "ar": "",
        "ca": "commercial organisations only",
        "ch": "",
        "fo": "",
        "gb": "",
        "gg": "",
        "il": "",
        "im": "",
        "je": "",
        "jp": "private sector only",
        "kr": "",
        "nz": "",
        "us": "companies certified under the EU-US Data Privacy Framework only",
        "uy": "",
    }
)
"""Countries that the European Commission finds adequate, with the condition ("" for none). No filter uses it."""

_INSIDE: Final[Mapping[str, frozenset[str]]] = MappingProxyType({"eu": EU | {"eu"}, "eea": EEA | {"eu", "eea"}})
_COMMON_MISTAKES: Final[Mapping[str, str]] = MappingProxyType({"uk": "gb", "el": "gr"})


def inside(regions: Iterable[str], asked: str) -> bool:
    """Whether all of `regions` (a fact of an endpoint) lie in `asked`: eu, eea or one country.

    `eu` as a fact means "somewhere in the EU", so it never satisfies a single country, and `global` nothing.
    No region at all states nothing and satisfies nothing.
    """
    allowed = _INSIDE.get(asked)
    if allowed is None:
        allowed = frozenset({asked}) if _is_country(asked) else frozenset()
    places = [place.lower() for place in regions]
    return bool(places) and all(place in allowed for place in places)


def residency_problem(code: str) -> str | None:
    """What is wrong with a residency code that was asked for (any case), or None."""
    code = code.lower()
    if code in _COMMON_MISTAKES:
        return f'"{code}" is no ISO 3166-1 code; use "{_COMMON_MISTAKES[code]}"'
    if code in _INSIDE or _is_country(code):
        return None
    return f'"{code}" is not a region; use "eu", "eea" or a country as two letters, such as "de"'


def _is_country(code: str) -> bool:
    return len(code) == 2 and code.isascii() and code.isalpha() and code != "eu"
