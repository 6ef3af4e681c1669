"""Settings that a reload changes, and those that stay as they were until the process is started again."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adapters.media import MediaLimits
from service.edge.kafka.record import Headers
from service.live import LiveSettings
from service.settings import Settings
from service.settings.changes import changes, in_force
from tests.support.kafka_records import record

KEY = b64encode(Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()).decode()
BROKERS = "kafka-1:9092"


def settings(kafka: dict[str, Any] | None = None, **owner: Any) -> Settings:
    owners = [{"name": "team-a", **owner}]
    return Settings.model_validate({"kafka": kafka or {}, "owners": owners})


def live(started_with: Settings, fresh: Settings) -> LiveSettings:
    found = LiveSettings(started_with, drain_pause=False)
    found.use(fresh)
    return found


def test_limits_of_fetches_and_who_may_have_any_are_applied_by_a_reload() -> None:
    allowed = Settings.model_validate({"owners": [{"name": "local", "fetch_media": True}]})
    found = live(Settings(), allowed)
    assert found.owner_rows()[0].fetch_media
    assert found.media() == MediaLimits()
    section = {
        "max_bytes": 2048,
        "max_call_bytes": 4096,
        "max_held_bytes": 8192,
        "max_count": 3,
        "seconds": 1,
        "parallel": 2,
        "allow_http": True,
        "ports": [8443],
        "allowed_hosts": ["CDN.example.", "*.a.example"],
    }
    found.use(Settings.model_validate({"media": section}))
    assert found.media() == MediaLimits(
        2048, 4096, 8192, 3, 1.0, 2, allow_http=True, ports=(8443,), hosts=("cdn.example", "*.a.example")
    )


def test_records_of_an_owner_may_have_media_fetched_where_its_row_says_so() -> None:
    kafka = {"bootstrap_servers": BROKERS, "intake": [{"topic": "jobs", "owner": "team-a"}]}
    for allowed in (True, False):
        section = settings(kafka, fetch_media=allowed)
        terms = live(section, section).intake_rules().identities.identify(record(topic="jobs"), Headers({}, {}))
        assert terms.principal.fetch_media is allowed


def test_brokers_that_a_reload_brings_change_nothing_before_the_next_start() -> None:
    started_with = settings(results_topic="team-a.results")
    fresh = settings({"bootstrap_servers": BROKERS}, results_topic="team-a.results")
    assert live(started_with, fresh).results_topic("team-a") is None
    assert live(fresh, fresh).results_topic("team-a") == "team-a.results"
    assert live(fresh, started_with).results_topic("team-a") == "team-a.results"


def test_owners_results_topics_and_reply_topics_are_followed_where_there_is_kafka() -> None:
    kafka = {"bootstrap_servers": BROKERS, "names": {"results": "all"}}
    found = LiveSettings(settings(kafka), drain_pause=False)
    assert found.results_topics() == ("all",)
    fresh = settings(
        {**kafka, "intake": [{"topic": "new", "owner": "team-a", "results_topic": "of-new"}]},
        results_topic="mine",
        reply_topics=["reply"],
    )
    found.use(fresh)
    assert found.results_topic("team-a") == "mine"
    # What comes with a topic that is read only after the next start is made only then.
    assert found.results_topics() == ("all", "mine", "reply")
    assert live(fresh, fresh).results_topics() == ("all", "of-new", "mine", "reply")


def test_bindings_and_sizes_of_records_are_those_of_the_start_and_keys_and_headers_are_followed() -> None:
    kafka = {"bootstrap_servers": BROKERS, "intake": [{"topic": "a", "owner": "team-a"}]}
    fresh = settings(
        {
            "bootstrap_servers": BROKERS,
            "intake": [{"topic": "a", "owner": "team-b"}, {"topic": "b", "owner": "team-b"}],
            "max_record_bytes": 5000,
            "high_water": 7,
            "results_content": "reference",
            "trusted_owner_header": "x-owner",
        },
        public_keys=[{"id": "k", "key": KEY}],
    )
    found = live(settings(kafka), fresh)
    rules, as_fresh = found.intake_rules(), live(fresh, fresh).intake_rules()
    assert (rules.max_value_bytes, as_fresh.max_value_bytes) == (1024 * 1024, 5000)
    assert (found.intake().high_water, found.results_content()) == (7, "reference")
    assert [rules.identities.bound_owner(topic) for topic in "ab"] == ["team-a", ""]
    assert [as_fresh.identities.bound_owner(topic) for topic in "ab"] == ["team-b", "team-b"]
    assert rules.identities.headers == {"x-owner"}


def test_what_is_in_force_is_what_was_told_to_be_applied() -> None:
    started_with = Settings()
    fresh = Settings.model_validate(
        {
            "kafka": {"bootstrap_servers": BROKERS, "high_water": 5},
            "log": {"level": "debug"},
            "processes": 2,
            "jobs": {"lease_seconds": 99, "concurrency": 3},
            "hint_fields": ["other"],
        }
    )
    now = in_force(started_with, fresh)
    applied, waiting = changes(started_with, fresh)
    assert waiting
    assert changes(started_with, now) == (applied, ())
    assert changes(now, fresh) == ((), waiting)
    assert in_force(started_with, started_with) is started_with
