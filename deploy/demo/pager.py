#!/opt/exporter/bin/python3
"""Who is paged: prints each alert that Alertmanager tells it, and when it is over."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Pager(BaseHTTPRequestHandler):
    """A webhook of Alertmanager."""

    def do_POST(self) -> None:
        """Print what is told."""
        length = int(self.headers["Content-Length"])
        for alert in json.loads(self.rfile.read(length))["alerts"]:
            sys.stdout.write(line(alert))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


def line(alert: dict[str, Any]) -> str:
    """Return a line for people: FIRING critical SomeAlert: what is wrong."""
    labels = alert["labels"]
    said = " ".join(alert["annotations"].get("description", "").split())
    severity = labels.get("severity", "")
    return f"{alert['status'].upper()} {severity} {labels['alertname']}: {said}\n"


if __name__ == "__main__":
    HTTPServer(("", 8000), Pager).serve_forever()
