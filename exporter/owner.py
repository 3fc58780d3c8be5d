"""How an owner is identified and displayed. Pure."""

import re

from exporter.model import NetnsId, Owner

_DIGEST = re.compile(r"\A([0-9a-f]{12})[0-9a-f]{52}\Z")


def owner_labels(owner: Owner) -> tuple[str, str, str, str, str]:
    """Return the five labels that tell namespaces apart."""
    return (owner.namespace, owner.pod, owner.uid, owner.container, owner.netns)


def cookie_name(netns: NetnsId) -> str:
    """Return a name unique since boot, or nearly so where the kernel has no cookie."""
    if netns.cookie is None:
        return f"seen/{netns.first_seen:.3f}"
    return f"cookie/{netns.cookie}"


def short_id(container_id: str) -> str:
    """Return a digest as `docker ps` shows it, and a name as it is."""
    return _DIGEST.sub(r"\1", container_id)


def display_name(owner: Owner) -> str:
    """Return what to call an owner on a screen; not always unique."""
    main = owner.pod or owner.uid or owner.container
    if owner.namespace:
        main = f"{owner.namespace}/{main}"
    return " ".join(filter(None, (main, owner.netns))) or owner.comm or owner.kind
