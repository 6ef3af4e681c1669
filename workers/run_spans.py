"""The span of one run of a job: a trace of its own that points to where the job was submitted.

A job may run hours after its submission, and several times: below the submitter's span its trace would never be
whole. https://opentelemetry.io/docs/specs/otel/overview/#links-between-spans.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from service.domain.calls import CallContext
from service.domain.errors import ServiceError
from service.domain.job_store import ClaimedJob
from service.domain.jobs import Failed
from service.domain.tracing import (
    TRACEPARENT,
    TRACESTATE,
    Attributes,
    Kind,
    Span,
    Tracer,
    current,
    is_fault,
    remote_of,
)
from workers.ports import Outcome

OUTCOME: Final = "eurouter.job.outcome"
RUN: Final = "run job"
END: Final = "end job"
"""A job for which no run may begin."""


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

    def failed(self, failure: ServiceError) -> None:
        """The run failed, whatever follows from it."""
        if self.span is not None:
            self.span.fail(failure.reason.value, fault=is_fault(failure.reason))

    def crashed(self, error: Exception) -> None:
        """The run met a fault of ours."""
        if self.span is not None:
            self.span.fail(type(error).__name__)

    def doomed(self, why: Failed) -> None:
        """No run may begin. Its submitter has said until when it may; that its workers were lost is our fault."""
        if self.span is not None:
            self.span.fail(why.value, fault=why is Failed.WORKER_LOST)

    def ended(self, outcome: Outcome) -> Outcome:
        """What the run came to, passed on."""
        if self.span is not None:
            self.span.set(OUTCOME, outcome)
        return outcome


@contextmanager
def run_span(tracer: Tracer | None, job: ClaimedJob, name: str = RUN) -> Iterator[RunSpan]:
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
    span = tracer.start(name, Kind.CONSUMER, attributes, link=submitted)
    token = current.set(span)
    try:
        yield RunSpan(span)
    except asyncio.CancelledError:
        # The worker stops or has lost the job, which goes to another.
        span.fail("cancelled", fault=False)
        raise
    except Exception as error:
        span.set(OUTCOME, "crashed")
        span.fail(type(error).__name__)
        raise
    finally:
        span.end()
        current.reset(token)
