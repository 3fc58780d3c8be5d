"""
The interfaces of a network namespace and their addresses, rtnetlink(7).

Loaded only where somebody asks for them: pyroute2 costs 14 MB, and a visit with it
2 ms, which no scrape has to spare.
"""

from pyroute2 import IPRoute

from exporter.model import Link
from exporter.values import decode_filename

_IFF_UP = 1  # linux/if.h


def read_links() -> tuple[Link, ...]:
    """
    Return the links of the current network namespace; OSError if it refuses.

    Its socket is closed before it returns: it would pin the namespace.
    """
    with IPRoute() as route:
        addresses: dict[int, list[str]] = {}
        for message in route.get_addr():
            # IFA_ADDRESS is the far end of a point-to-point link: if_addr.h
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
