"""The span of one run of a job: a trace of its own that points to where the job was submitted.

A job may run hours after its submission, and several times: below the submitter's span its trace would never be
whole. https://opentelemetry.io/docs/specs/otel/overview/#links-between-spans.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from service.domain.calls import CallContext
from service.domain.job_store import ClaimedJob
from service.domain.tracing import (
    TRACEPARENT,
    TRACESTATE,
    Attributes,
    Kind,
    Span,
    Tracer,
    current,
    remote_of,
)
from workers.ports import Outcome

OUTCOME: Final = "eurouter.job.outcome"


class RunSpan:
    """One run's span, or none."""

    __slots__ = ("span",)

    def __init__(self, span: Span | None) -> None:
        self.span = span

    def below(self, context: CallContext) -> CallContext:
        """The context of the run's calls."""
        span = self.span
        if span is None:
            return context
        return replace(context, span=span, traceparent=span.traceparent, tracestate=span.tracestate)

    def ended(self, outcome: Outcome) -> Outcome:
        """What the run came to, passed on."""
        if self.span is not None:
            self.span.set(OUTCOME, outcome)
            if outcome in ("failed", "retried"):
                self.span.fail(outcome)
        return outcome


@contextmanager
def run_span(tracer: Tracer | None, job: ClaimedJob) -> Iterator[RunSpan]:
    """The span of a run, until its end. Whether it is recorded was decided when the job was submitted."""
    submitted = remote_of(job.trace.get(TRACEPARENT), job.trace.get(TRACESTATE))
    if tracer is None or not (tracer.samples(None) if submitted is None else submitted.sampled):
        yield RunSpan(None)
        return
    attributes: Attributes = {
        "eurouter.response.id": job.id,
        "eurouter.job.api": job.api,
        "eurouter.job.epoch": job.epoch,
        "eurouter.job.failed_attempts": job.failed_attempts,
    }
    span = tracer.start("run job", Kind.CONSUMER, attributes, link=submitted)
    token = current.set(span)
    try:
        yield RunSpan(span)
    except BaseException as error:
        # The worker stops, and the job goes to another.
        span.fail(type(error).__name__, fault=isinstance(error, Exception))
        raise
    finally:
        span.end()
        current.reset(token)
