"""A server for a page on this machine.

`python -m http.server` sends a page too. What this one adds: two headers, without which browsers give no
memory that threads share; types that do not depend on the machine, as on Windows a program may have made
text of JavaScript; and no stale copy of a model that was written anew.
"""

from __future__ import annotations

import functools
import os
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

#: Where browsers give a page the camera without https.
_HOST = "127.0.0.1"
#: Types of the files by their ends.
_TYPES = {
    "": "application/octet-stream",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}


class PageServer(ThreadingHTTPServer):
    """Sends the files of a folder to programs on this machine.

    Args:
        folder: The folder.
        port: Number of the port; 0 takes one that is free.

    Raises:
        OSError: If the port cannot be had.
    """

    daemon_threads = True
    # On Windows it would take a port from a program that has it.
    allow_reuse_address = os.name != "nt"

    def __init__(self, folder: Path, port: int) -> None:
        try:
            super().__init__((_HOST, port), functools.partial(_Files, directory=str(folder)))
        except OSError as error:
            raise OSError(
                error.errno, f"Expected a port that is free. {error.strerror}", f"{_HOST}:{port}"
            ) from error

    @property
    def address(self) -> str:
        """What a browser opens."""
        return f"http://{_HOST}:{self.server_port}/"


class _Files(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extensions_map = _TYPES

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def list_directory(self, path: Any) -> None:
        """Lists nothing: a page has an index."""
        del path
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""
