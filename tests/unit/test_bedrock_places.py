"""What a Bedrock row says of places, against what its profile and its address say."""

from __future__ import annotations

import pytest

from adapters.catalog.load import check_document
from adapters.documents.read import DocumentError, parse_document

OWN = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc"
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/global.anthropic.claude-sonnet-4-6"


def check(model: str, places: str, region: str = "eu-central-1") -> None:
    text = f"""
providers:
  - slug: aws
    dialect: bedrock
    base_url: https://bedrock-runtime.{region}.amazonaws.com
    auth: {{secret: env:KEY}}
models:
  - id: anthropic/claude
    endpoints:
      - provider: aws
        model: "{model}"
        price: {{prompt: 1, completion: 1}}
        facts: {{regions: {{value: [{places}], source: a contract, verified_on: 2026-01-31}}}}
"""
    check_document(parse_document(text, "catalogue.yaml"))


@pytest.mark.parametrize(
    ("model", "places", "region"),
    [
        ("eu.anthropic.claude-sonnet-4-6", "eu", "eu-central-1"),
        ("global.anthropic.claude-sonnet-4-6", "global", "eu-central-1"),
        ("us.anthropic.claude-sonnet-4-6", "us", "us-east-1"),
        ("anthropic.claude-sonnet-4-6", "de", "eu-central-1"),
        ("anthropic.claude-sonnet-4-6", "us", "us-east-1"),
        ("anthropic.claude-sonnet-4-6", "gb", "eu-west-2"),
        ("amazon.nova-lite-v1:0", "eu", "eu-north-1"),
        # Our own profile: nothing is known of where it chooses.
        (OWN, "eu", "eu-central-1"),
        (OWN, "de, fr, ie", "eu-central-1"),
        ("eu.anthropic.claude-sonnet-4-6", "de, fr, ie", "eu-central-1"),
        ("jp.anthropic.claude-sonnet-4-6", "jp", "ap-northeast-1"),
        ("anthropic.claude-sonnet-4-6", "eea", "eu-west-3"),
        ("anthropic.claude-sonnet-4-6", "global", "eu-west-3"),
    ],
)
def test_places_that_can_be_true_are_taken_as_they_stand(model: str, places: str, region: str) -> None:
    check(model, places, region)


@pytest.mark.parametrize(
    ("model", "places", "region", "says"),
    [
        ("global.anthropic.claude-sonnet-4-6", "eu", "eu-central-1", r"must be \[global\]"),
        ("global.anthropic.claude-sonnet-4-6", "eu, us", "us-east-1", r"must be \[global\]"),
        (ARN, "eu", "eu-central-1", r"must be \[global\]"),
        ("us.anthropic.claude-sonnet-4-6", "eu", "eu-central-1", "can't hold eu: .* does not process there"),
        ("apac.anthropic.claude-sonnet-4-6", "de", "eu-central-1", "can't hold de"),
        ("anthropic.claude-sonnet-4-6", "eu", "us-east-1", "us-east-1 is in us"),
        ("anthropic.claude-sonnet-4-6", "eu", "eu-west-2", "eu-west-2 is in gb"),
        # One country that a filter would take for the whole truth.
        ("eu.anthropic.claude-sonnet-4-6", "de", "eu-central-1", "can't be de alone: .* several countries"),
        ("eu.anthropic.claude-sonnet-4-6", "de, DE", "eu-central-1", "can't be de alone"),
        ("eu.anthropic.claude-sonnet-4-6", "ch", "eu-central-2", "can't hold ch"),
        ("apac.anthropic.claude-sonnet-4-6", "jp", "ap-northeast-1", "can't be jp alone"),
        ("us.anthropic.claude-sonnet-4-6", "ch", "us-east-1", "can't hold ch"),
        ("us.anthropic.claude-sonnet-4-6", "us, ca", "us-east-1", "can't hold ca"),
        ("anthropic.claude-sonnet-4-6", "de", "eu-west-3", "eu-west-3 is in fr"),
        ("anthropic.claude-sonnet-4-6", "ch", "us-east-1", "us-east-1 is in us"),
        ("anthropic.claude-sonnet-4-6", "de", "xx-new-1", "xx-new-1 is outside Europe"),
        (OWN, "fr", "eu-central-1", "can't hold fr: base_url's region eu-central-1 is in de"),
    ],
)
def test_places_that_a_profile_or_an_address_contradicts_are_an_error_at_their_line(
    model: str, places: str, region: str, says: str
) -> None:
    with pytest.raises(DocumentError, match=says) as caught:
        check(model, places, region)
    assert "models[0].endpoints[0].facts.regions" in str(caught.value)
