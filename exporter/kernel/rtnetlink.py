"""
Read the interfaces of a network namespace and their addresses, rtnetlink(7).

Only `snapshot` and `explain` import it, never `serve`: pyroute2 takes 14 MB of memory,
and 2 ms per namespace.
"""

from pyroute2 import IPRoute

from exporter.model import Link
from exporter.values import decode_filename

_IFF_UP = 1  # linux/if.h


def read_links() -> tuple[Link, ...]:
    """
    Return the interfaces of the current network namespace; OSError if refused.

    The socket is closed on return, since it keeps the namespace alive.
    """
    with IPRoute() as route:
        addresses: dict[int, list[str]] = {}
        for message in route.get_addr():
            # IFA_ADDRESS is the peer's on a point-to-point link: if_addr.h
            own = message.get("local") or message.get("address")
            shown = f"{own}/{message['prefixlen']}"
            addresses.setdefault(message["index"], []).append(shown)
        return tuple(
            Link(
                name=decode_filename(message.get("ifname") or ""),
                up=bool(message["flags"] & _IFF_UP),
                addresses=tuple(addresses.get(message["index"], ())),
            )
            for message in route.get_links()
        )
