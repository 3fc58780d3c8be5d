"""Generated rule files as Prometheus reads them."""

import yaml  # type: ignore[import-untyped]


def rules_by_name(text: str) -> dict[str, dict[str, object]]:
    """Return the alerts and the recording rules of a rule file."""
    groups = yaml.safe_load(text)["groups"]
    return {
        rule.get("alert", rule.get("record")): rule
        for group in groups
        for rule in group["rules"]
    }
