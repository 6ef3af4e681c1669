"""The sections on who may call, and the routing rules that an operator keeps in the settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from adapters.documents.shapes import Part, PreferencesPart
from adapters.keys import KeyRow, OwnerRow
from service.domain.catalog import Rule
from service.settings.kafka import PublicKeySettings, TopicName
from service.settings.parts import FloorSettings


def _public_id(value: str) -> str:
    # Never repeats the value: it may be a whole key, pasted here.
    if len(value) != 12 or not (value.isascii() and value.isalnum()):
        raise ValueError("must be the 12 characters after eur_, as `eurouter keys create` prints them")
    return value


def _keyed_hash(value: str) -> str:
    if len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise ValueError("must be 64 hexadecimal digits, as `eurouter keys create` prints them, not the key")
    return value


def _uuid(value: Any) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError(f"must be a UUID such as 7b0c4f0e-6a55-4f5e-9f0e-0c1f2d3e4a5b, got '{value}'") from None


Owner = Annotated[str, Field(min_length=1, max_length=255)]


class KeySettings(Part):
    """An API key, as `eurouter keys create` prints it. The key itself is nowhere."""

    id: Annotated[str, AfterValidator(_public_id)] = Field(description="Its public part: 12 characters.")
    hash: Annotated[str, AfterValidator(_keyed_hash)] = Field(description="The keyed hash of its secret.")
    owner: Owner = Field(description="Whom calls with it are for.")
    name: str = Field(default="", max_length=255, description="What it is for, for people.")
    disabled: bool = Field(default=False, description="Refused until enabled again.")
    admin: bool = Field(default=False, description="May do what operators do.")
    fetch_media: bool = Field(
        default=False,
        description="Images and files that its requests have by address are fetched for endpoints that take bytes "
        "only; see `media`. Off, such endpoints are not asked.",
    )
    floor: FloorSettings = Field(default_factory=FloorSettings, description="Filters for calls with it.")

    def to_domain(self) -> KeyRow:
        """The same for the lookup."""
        return KeyRow(
            id=self.id,
            hash=self.hash,
            owner=self.owner,
            name=self.name,
            disabled=self.disabled,
            admin=self.admin,
            fetch_media=self.fetch_media,
            floor=self.floor.to_domain(),
        )


class OwnerSettings(Part):
    """An owner of keys and calls. Keys may name owners that are not listed here."""

    name: Owner = Field(description="Its name. `local` is everybody as long as there are no keys.")
    client_certificates: tuple[str, ...] = Field(
        default=(),
        description="Names in client certificates that speak for it: a subject alternative name (DNS, URI or "
        "address) or the common name.",
    )
    floor: FloorSettings = Field(default_factory=FloorSettings, description="Filters for all its calls.")
    fetch_media: bool = Field(default=False, description="As a key's, for all its calls by whichever door.")
    on_worker_loss: Literal["restart", "fail"] = Field(
        default="restart",
        description="What becomes of a background response whose worker was lost after output could be seen: "
        "begun anew, readers told to start over, or failed.",
    )
    public_keys: tuple[PublicKeySettings, ...] = Field(
        default=(), description="Keys with which its records in Kafka are signed, on topics that owners share."
    )
    reply_topics: tuple[TopicName, ...] = Field(
        default=(), description="Topics that its records may ask their results to be sent to, by reply-topic."
    )
    results_topic: TopicName | None = Field(
        default=None,
        description="The topic of all results of its jobs, whichever door they came by; left out, "
        "kafka.names.results. A binding's own and a record's reply-topic come before it.",
    )

    def to_domain(self) -> OwnerRow:
        """The same for the lookup."""
        return OwnerRow(self.name, self.client_certificates, self.floor.to_domain(), self.fetch_media)


class RuleSettings(Part):
    """A routing rule that requests name by rule_id or rule_name. What the request sets wins over it."""

    id: Annotated[str, AfterValidator(_uuid)] = Field(description="A UUID.")
    name: str = Field(min_length=1, max_length=255, description="Its name.")
    enabled: bool = Field(default=True, description="A rule that is not enabled is not found.")
    model: str | None = Field(default=None, min_length=1, description="The model, if the request names none.")
    models: tuple[str, ...] = Field(default=(), description="Models in their order of fallback.")
    provider: PreferencesPart = Field(default_factory=PreferencesPart, description="Preferences.")

    def to_domain(self) -> Rule:
        """The same for the router."""
        return Rule(self.id, self.name, self.enabled, self.model, self.models, self.provider.to_domain())
