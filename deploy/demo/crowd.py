#!/opt/exporter/bin/python3
"""
Open many connections at once, every seven seconds, for an hour.

After a few rounds it widens the net.ipv4.ip_local_port_range of its own network
namespace: a change at run time for the exporter to detect.
"""

import asyncio
import sys
import time
from pathlib import Path

CONNECTIONS = 300
ROUNDS = 520
SECONDS_A_ROUND = 7.0
TIMEOUT = 20.0
PORTS = Path("/sysctl/net/ipv4/ip_local_port_range")
WIDE_RANGE, ROUND_OF_CHANGE = "1024 65535", 3
RETRY_SECONDS = 0.9  # a SYN without a reply is sent again after a second
REQUEST = b"GET / HTTP/1.0\r\n\r\n"


def widen_port_range() -> None:
    """Write a sysctl of this container's network namespace."""
    PORTS.write_text(WIDE_RANGE)


async def connect(host: str) -> float | None:
    """Return the seconds until the connection was established; None if it failed."""
    before = time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(host, 8080)
            connected = time.monotonic() - before
            writer.write(REQUEST)
            await reader.read()
            writer.close()
            return connected
    except OSError:  # includes TimeoutError
        return None


async def connect_all(host: str) -> str:
    """Return a line that summarizes one round of connections."""
    results = await asyncio.gather(*(connect(host) for _ in range(CONNECTIONS)))
    connected = [seconds for seconds in results if seconds is not None]
    retried = sum(seconds > RETRY_SECONDS for seconds in connected)
    return (
        f"{host}: {len(connected)} of {CONNECTIONS} connected, {retried} of them after "
        f"a retry, slowest connect {max(connected, default=0.0):.1f} s\n"
    )


async def main(hosts: list[str]) -> None:
    """Connect to all *hosts*, round after round."""
    for number in range(ROUNDS):
        if number == ROUND_OF_CHANGE:
            widen_port_range()
        pause = asyncio.create_task(asyncio.sleep(SECONDS_A_ROUND))
        for line in await asyncio.gather(*map(connect_all, hosts)):
            sys.stdout.write(line)
        await pause


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
