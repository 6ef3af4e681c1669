"""Whether the places that a Bedrock row states can be true: its profile and its address say where it goes.

Only contradictions are found here; a statement is the operator's, and stays right or wrong by its source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from service.domain.regions import EEA

# https://docs.aws.amazon.com/bedrock/latest/userguide/geographic-cross-region-inference.html and
# .../global-cross-region-inference.html: the first part of a profile's id says between which regions it chooses.
_PROFILE: Final = re.compile(r"(?:.*[:/])?(global|eu|us-gov|us|apac|jp|au|ca)\.[a-z0-9-]+\.")
_IN_EUROPE: Final = EEA | {"eu", "eea"}
# https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html
_COUNTRIES: Final[Mapping[str, str]] = {
    "eu-central-1": "de",
    "eu-central-2": "ch",
    "eu-north-1": "se",
    "eu-south-1": "it",
    "eu-south-2": "es",
    "eu-west-1": "ie",
    "eu-west-2": "gb",
    "eu-west-3": "fr",
}


def contradiction(model: str, region: str | None, places: tuple[str, ...]) -> str | None:
    """What is wrong with `places` for a model id, profile or ARN asked in this region; None: nothing known."""
    found = _PROFILE.match(model.lower())
    profile = found[1] if found else None
    european = [place for place in places if place in _IN_EUROPE]
    if profile == "global":
        if places != ("global",):
            return f"must be [global]: the profile '{model}' may process anywhere"
        return None
    if profile == "eu" or not european:
        return None
    if profile is not None:
        return f"can't hold {', '.join(european)}: the profile '{model}' does not process in Europe"
    # Without a profile it is the region's own data centres that answer.
    country = _COUNTRIES.get(region or "")
    if region is None or country in _IN_EUROPE:
        return None
    where = f"in {country}" if country else "outside Europe"
    return f"can't hold {', '.join(european)}: base_url's region {region} is {where}"
