#!/opt/exporter/bin/python3
"""
Visitors who all come at once, every seven seconds, for an hour.

After a few rounds they want more ports to come from, and write their own
net.ipv4.ip_local_port_range: a change at run time, for whoever looks for such.
"""

import asyncio
import sys
import time
from pathlib import Path

VISITORS = 300
ROUNDS = 520
SECONDS_A_ROUND = 7.0
PATIENCE = 20.0
PORTS = Path("/sysctl/net/ipv4/ip_local_port_range")
MANY_PORTS, ROUND_WITH_MANY = "1024 65535", 3
A_RETRY = 0.9  # a SYN that is not answered is sent again after a second
REQUEST = b"GET / HTTP/1.0\r\n\r\n"


def want_more_ports() -> None:
    """Write a sysctl of this container's network namespace."""
    PORTS.write_text(MANY_PORTS)


async def visit(host: str) -> float | None:
    """Return the seconds until the connection was there; None if it failed."""
    before = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(host, 8080)
            connected = time.monotonic() - before
            writer.write(REQUEST)
            await reader.read()
            writer.close()
            return connected
    except OSError:  # TimeoutError is one
        return None


async def visits(host: str) -> str:
    """Return a line about a whole crowd's luck."""
    came = await asyncio.gather(*(visit(host) for _ in range(VISITORS)))
    served = [seconds for seconds in came if seconds is not None]
    again = sum(seconds > A_RETRY for seconds in served)
    return (
        f"{host}: {len(served)} of {VISITORS} were let in, {again} of them had to "
        f"knock again, the last after {max(served, default=0.0):.1f} s\n"
    )


async def main(hosts: list[str]) -> None:
    """Visit all *hosts*, again and again."""
    for number in range(ROUNDS):
        if number == ROUND_WITH_MANY:
            want_more_ports()
        pause = asyncio.create_task(asyncio.sleep(SECONDS_A_ROUND))
        for line in await asyncio.gather(*map(visits, hosts)):
            sys.stdout.write(line)
        await pause


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
