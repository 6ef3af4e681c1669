"""Listen on the node's address and pass connections on to loopback: `python -m tests.cluster.forward PORT...`.

The servers that tests start listen on loopback, which pods don't reach. Ending it is an outage of what it stands
for.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress

from tests.cluster.configuration import ADDRESS


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def _serve(port: int) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        # At the end all are cancelled, which is no failure.
        with suppress(asyncio.CancelledError):
            await asyncio.gather(_copy(reader, back), _copy(there, writer))

    return await asyncio.start_server(connected, ADDRESS, port)


async def _main(ports: list[int]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    servers = [await _serve(port) for port in ports]
    await stop.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    asyncio.run(_main([int(port) for port in sys.argv[1:]]))
