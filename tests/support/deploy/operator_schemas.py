"""
Strict JSON schemas of the Prometheus Operator's kinds, limited to the keys used here.

Taken from the CRDs of release 0.91; the schemas of Kubernetes do not include them.
"""

from typing import Any

_DURATION = {
    "type": "string",
    "pattern": "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?"
    "(([0-9]+)s)?(([0-9]+)ms)?)$",
}
_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_RELABELING = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "action": {"enum": ["replace", "keep", "drop", "labeldrop", "labelkeep"]},
        "regex": _TEXT,
        "replacement": _TEXT,
        "sourceLabels": {"type": "array", "items": _TEXT},
        "targetLabel": _TEXT,
    },
}


def _kind(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": False,
        "properties": {
            "apiVersion": {"const": "monitoring.coreos.com/v1"},
            "kind": {"const": name},
            "metadata": {
                "type": "object",
                "required": ["name", "namespace"],
                "additionalProperties": False,
                "properties": {"name": _TEXT, "namespace": _TEXT, "labels": _TEXTS},
            },
            "spec": spec,
        },
    }


_ENDPOINT = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "port": _TEXT,
        "path": _TEXT,
        "scheme": {"enum": ["http", "https"]},
        "interval": _DURATION,
        "scrapeTimeout": _DURATION,
        "honorLabels": {"type": "boolean"},
        "relabelings": {"type": "array", "items": _RELABELING},
        "metricRelabelings": {"type": "array", "items": _RELABELING},
        "tlsConfig": {"type": "object"},
        "basicAuth": {"type": "object"},
    },
}

_ALERT = {
    "type": "object",
    "required": ["alert", "expr"],
    "additionalProperties": False,
    "properties": {
        "alert": _TEXT,
        "expr": _TEXT,
        "for": _DURATION,
        "keep_firing_for": {**_DURATION, "minLength": 1},
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
}
_RECORD = {
    "type": "object",
    "required": ["record", "expr"],
    "additionalProperties": False,
    "properties": {"record": _TEXT, "expr": _TEXT, "labels": _TEXTS},
}

OPERATOR_SCHEMAS = {
    "PodMonitor": _kind(
        "PodMonitor",
        {
            "type": "object",
            "required": ["selector", "podMetricsEndpoints"],
            "additionalProperties": False,
            "properties": {
                "jobLabel": _TEXT,
                "selector": {
                    "type": "object",
                    "required": ["matchLabels"],
                    "additionalProperties": False,
                    "properties": {"matchLabels": _TEXTS},
                },
                "podMetricsEndpoints": {"type": "array", "items": _ENDPOINT},
            },
        },
    ),
    "PrometheusRule": _kind(
        "PrometheusRule",
        {
            "type": "object",
            "required": ["groups"],
            "additionalProperties": False,
            "properties": {
                "groups": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "rules"],
                        "additionalProperties": False,
                        "properties": {
                            "name": {"type": "string", "minLength": 1},
                            "rules": {
                                "type": "array",
                                "items": {"oneOf": [_ALERT, _RECORD]},
                            },
                        },
                    },
                }
            },
        },
    ),
}
