"""eurouter.v1.JobsService: maps its methods to the API's handlers."""

from __future__ import annotations

from typing import Final

import grpc
from eurouter.v1 import jobs_pb2 as pb

from service.api.dead_letters import DeadLettersHandler
from service.api.jobs import JobsHandler
from service.edge.grpc_calls import GrpcCalls, Rpc

JOBS: Final = pb.DESCRIPTOR.services_by_name["JobsService"].full_name


def jobs_service(wrap: GrpcCalls, jobs: JobsHandler, letters: DeadLettersHandler) -> grpc.GenericRpcHandler:
    """The service's handler."""

    async def list_jobs(rpc: Rpc[pb.ListJobsRequest]) -> pb.ListJobsResponse:
        return await jobs.list_jobs(rpc.request, rpc.call)

    async def cancel_jobs(rpc: Rpc[pb.CancelJobsRequest]) -> pb.CancelJobsResponse:
        return await jobs.cancel_jobs(rpc.request, rpc.call)

    async def queue_stats(rpc: Rpc[pb.GetQueueStatsRequest]) -> pb.QueueStats:
        return await jobs.queue_stats(rpc.request, rpc.call)

    async def list_dead_letters(rpc: Rpc[pb.ListDeadLettersRequest]) -> pb.ListDeadLettersResponse:
        return await letters.list_dead_letters(rpc.request, rpc.call)

    async def redrive_dead_letters(rpc: Rpc[pb.RedriveDeadLettersRequest]) -> pb.RedriveDeadLettersResponse:
        return await letters.redrive_dead_letters(rpc.request, rpc.call)

    return grpc.method_handlers_generic_handler(
        JOBS,
        {
            "ListJobs": wrap.unary("ListJobs", pb.ListJobsRequest, list_jobs),
            "CancelJobs": wrap.unary("CancelJobs", pb.CancelJobsRequest, cancel_jobs),
            "GetQueueStats": wrap.unary("GetQueueStats", pb.GetQueueStatsRequest, queue_stats),
            "ListDeadLetters": wrap.unary("ListDeadLetters", pb.ListDeadLettersRequest, list_dead_letters),
            "RedriveDeadLetters": wrap.unary(
                "RedriveDeadLetters", pb.RedriveDeadLettersRequest, redrive_dead_letters
            ),
        },
    )
