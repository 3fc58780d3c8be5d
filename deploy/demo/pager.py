#!/opt/exporter/bin/python3
"""A webhook receiver for Alertmanager: print each alert as it fires and resolves."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Pager(BaseHTTPRequestHandler):
    """Handle webhook notifications."""

    def do_POST(self) -> None:
        """Print each alert of a notification."""
        length = int(self.headers["Content-Length"])
        for alert in json.loads(self.rfile.read(length))["alerts"]:
            sys.stdout.write(line(alert))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Do not log requests."""


def line(alert: dict[str, Any]) -> str:
    """Return a readable line, such as: FIRING critical SomeAlert: description."""
    labels = alert["labels"]
    description = " ".join(alert["annotations"].get("description", "").split())
    severity = labels.get("severity", "")
    status = alert["status"].upper()
    return f"{status} {severity} {labels['alertname']}: {description}\n"


if __name__ == "__main__":
    HTTPServer(("", 8000), Pager).serve_forever()
