"""Names of owners and of network namespaces. Pure."""

import re

from exporter.model import NetnsId, Owner

_DIGEST = re.compile(r"\A([0-9a-f]{12})[0-9a-f]{52}\Z")


def owner_key(owner: Owner) -> tuple[str, str, str, str, str]:
    """Return the values of the five labels that identify a namespace on a node."""
    return (owner.namespace, owner.pod, owner.uid, owner.container, owner.netns)


def cookie_name(netns: NetnsId) -> str:
    """Return a name that is unique since boot, or nearly so without a cookie."""
    if netns.cookie is None:
        return f"seen/{netns.first_seen:.3f}"
    return f"cookie/{netns.cookie}"


WITHIN = "within/"
"""What the `netns` label of an owner that the node's root did not name starts with."""


def is_within(owner: Owner) -> bool:
    """Return whether another party than the node's root chose the name of *owner*."""
    return owner.netns.startswith(WITHIN)


def short_id(container_id: str) -> str:
    """Return a digest as `docker ps` prints it, and any other name unchanged."""
    return _DIGEST.sub(r"\1", container_id)


def display_name(owner: Owner) -> str:
    """Return the name of an owner for people; not always unique."""
    main = owner.pod or owner.uid or owner.container
    if owner.namespace:
        main = f"{owner.namespace}/{main}"
    return " ".join(filter(None, (main, owner.netns))) or owner.comm or owner.kind
