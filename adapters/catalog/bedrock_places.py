"""Whether the places that a Bedrock row states can be true: its profile and its address say where it goes.

Only contradictions are found here; a statement is the operator's, and stays right or wrong by its source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from service.domain.regions import EEA, EU

# https://docs.aws.amazon.com/bedrock/latest/userguide/geographic-cross-region-inference.html and
# .../global-cross-region-inference.html: the first part of a profile's id says between which regions it chooses.
_PROFILE: Final = re.compile(r"(?:.*[:/])?(global|eu|us-gov|us|apac|jp|au|ca)\.[a-z0-9-]+\.")
_OWN_PROFILE: Final = ":application-inference-profile/"
_GEOGRAPHIES: Final[Mapping[str, frozenset[str]]] = {
    "eu": EU | {"eu", "eea"},
    "us": frozenset({"us"}),
    "us-gov": frozenset({"us"}),
    "ca": frozenset({"ca"}),
    "jp": frozenset({"jp"}),
    "au": frozenset({"au"}),
    "apac": frozenset({"au", "hk", "id", "in", "jp", "kr", "my", "nz", "sg", "th", "tw"}),
}
_IN_EUROPE: Final = EEA | {"eu", "eea"}
# https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html
_COUNTRIES: Final[Mapping[str, str]] = {
    "af-south-1": "za",
    "ap-east-1": "hk",
    "ap-east-2": "tw",
    "ap-northeast-1": "jp",
    "ap-northeast-2": "kr",
    "ap-northeast-3": "jp",
    "ap-south-1": "in",
    "ap-south-2": "in",
    "ap-southeast-1": "sg",
    "ap-southeast-2": "au",
    "ap-southeast-3": "id",
    "ap-southeast-4": "au",
    "ap-southeast-5": "my",
    "ap-southeast-6": "nz",
    "ap-southeast-7": "th",
    "ca-central-1": "ca",
    "ca-west-1": "ca",
    "cn-north-1": "cn",
    "cn-northwest-1": "cn",
    "eu-central-1": "de",
    "eu-central-2": "ch",
    "eu-north-1": "se",
    "eu-south-1": "it",
    "eu-south-2": "es",
    "eu-west-1": "ie",
    "eu-west-2": "gb",
    "eu-west-3": "fr",
    "eusc-de-east-1": "de",
    "il-central-1": "il",
    "me-central-1": "ae",
    "me-south-1": "bh",
    "mx-central-1": "mx",
    "sa-east-1": "br",
    "us-east-1": "us",
    "us-east-2": "us",
    "us-gov-east-1": "us",
    "us-gov-west-1": "us",
    "us-west-1": "us",
    "us-west-2": "us",
}


def contradiction(model: str, region: str | None, places: tuple[str, ...]) -> str | None:
    """What is wrong with `places` for a model id, profile or ARN asked in this region; None: nothing known.

    `global` is more than any of them do, and satisfies no filter: it is taken everywhere.
    """
    found = _PROFILE.match(model.lower())
    distinct = frozenset(places)
    if found is not None and found[1] == "global" and distinct != {"global"}:
        return f"must be [global]: the profile '{model}' may process anywhere"
    if distinct == {"global"}:
        return None
    if found is not None:
        return _of_profile(model, _GEOGRAPHIES[found[1]], distinct)
    return _of_region(model, region, distinct)


def _of_profile(model: str, geography: frozenset[str], places: frozenset[str]) -> str | None:
    outside = places - geography
    if outside:
        return f"can't hold {_listed(outside)}: the profile '{model}' does not process there"
    if len(geography) > 1 and len(places) == 1 and not places & {"eu", "eea"}:
        return f"can't be {_listed(places)} alone: the profile '{model}' chooses between several countries"
    return None


def _of_region(model: str, region: str | None, places: frozenset[str]) -> str | None:
    """Without a profile it is the region's own data centres that answer."""
    if region is None:
        return None
    country = _COUNTRIES.get(region)
    if country is None:
        # A region that the table lacks counts as none in Europe: better a true statement refused than a false one.
        wrong, where = places & _IN_EUROPE, "outside Europe"
    else:
        above = {"eu", "eea"} if country in EU else {"eea"} if country in EEA else set()
        wrong, where = places - {country} - above, f"in {country}"
        # A profile of one's own may be a copy of a region's model or of `eu.`: it has no name that says which.
        if _OWN_PROFILE in model.lower() and country in EU and len(places) > 1 and places <= _GEOGRAPHIES["eu"]:
            return None
    return f"can't hold {_listed(wrong)}: base_url's region {region} is {where}" if wrong else None


def _listed(places: Iterable[str]) -> str:
    return ", ".join(sorted(places))
