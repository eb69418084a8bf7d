"""Watch: the report of a run as a page that renews itself, served on this machine only."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ddpnas.errors import DdpnasError, OptionError
from ddpnas.report.analysis import View
from ddpnas.report.html import page_html
from ddpnas.report.page import make_page, read_runs

__all__ = ["Watch"]

HOST = "127.0.0.1"

# Fetches the page every three seconds and replaces its content if it changed. Tables that the
# reader has opened stay open.
_HEAD = """
<link rel="icon" href="data:,">
<script>
let shown = null;
async function renew() {
  let lost = true;
  try {
    const answer = await fetch("/", {cache: "no-cache"});
    const tag = answer.headers.get("ETag");
    lost = !answer.ok;
    if (answer.ok && tag !== shown) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const open = [...document.querySelectorAll("details")].map(d => d.open);
      document.querySelector("main").replaceWith(page.querySelector("main"));
      document.querySelectorAll("details").forEach((d, i) => { d.open = open[i] ?? false; });
      document.title = page.title;
      shown = tag;
    }
  } catch { }
  document.documentElement.classList.toggle("lost", lost);
  setTimeout(renew, 3000);
}
setTimeout(renew, 3000);
</script>
"""


class Watch:
    """A server for the report of one run or several. It reads the folders and never writes.

    Args:
        runs: Run folders, finished or not.
        port: Port to listen on; 0 for any free one.
        space: For runs over your own space, its ``file.py:network``, see
            :func:`ddpnas.write_report`.

    Raises:
        RunError: If a folder is not a run.
        OptionError: If the port is taken or out of range.
    """

    def __init__(self, runs: list[str], port: int = 8000, space: str | None = None) -> None:
        self._folders = [Path(run) for run in runs]
        self._space = space
        self._lock = threading.Lock()
        self._state: tuple[tuple[str, int, int], ...] | None = None
        self._page = b""
        self._views: Sequence[View | None] = [None] * len(self._folders)
        self.page()
        try:
            self._server = ThreadingHTTPServer((HOST, port), _handler(self))
        except (OSError, OverflowError) as error:
            raise OptionError(
                f"port {port} cannot be used ({error}); give another --port"
            ) from None
        self._server.daemon_threads = True

    @property
    def address(self) -> str:
        """Address to open in a browser."""
        return f"http://{HOST}:{self._server.server_address[1]}/"

    def serve(self) -> None:
        """Answer requests until :meth:`close` or a keyboard interrupt."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """Stop answering requests."""
        self._server.shutdown()
        self._server.server_close()

    def page(self) -> tuple[bytes, str]:
        """Return the current page and its tag; it is made again only if a file has changed."""
        with self._lock:
            state = self._files()
            if state != self._state:
                runs = read_runs(self._folders)
                views = [
                    View(run, self._space, before=before)
                    for run, before in zip(runs, self._views, strict=True)
                ]
                policy = "; script-src 'unsafe-inline'; connect-src 'self'"
                self._page = page_html(make_page(views), live=_HEAD, policy=policy).encode(
                    errors="backslashreplace"
                )
                self._state, self._views = state, views
            return self._page, f'"{hashlib.sha256(self._page).hexdigest()[:16]}"'

    def _files(self) -> tuple[tuple[str, int, int], ...]:
        """Return name, time and size of the files that the page is made from."""
        found = []
        for folder in self._folders:
            for name in ("*.json", "*.jsonl", "trained/*.json"):
                for path in sorted(folder.glob(name)):
                    try:
                        status = path.stat()
                    except OSError:  # gone meanwhile, or a link in a circle; reading it says so
                        found.append((str(path), 0, 0))
                    else:
                        found.append((str(path), status.st_mtime_ns, status.st_size))
        return tuple(found)


def _handler(watch: Watch) -> type[BaseHTTPRequestHandler]:
    """Return the request handler of a watch, which serves the page at / and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        server_version = "ddpnas"
        sys_version = ""

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            host = (self.headers.get("Host") or "").partition(":")[0]
            if host not in (HOST, "localhost"):  # DNS rebinding: a foreign name that points here
                self.send_error(403)
                return
            if self.path != "/":
                self.send_error(404)
                return
            try:
                page, tag = watch.page()
            except (DdpnasError, FileNotFoundError) as error:  # the run may be replaced right now
                self.send_error(503, explain=str(error))
                return
            if self.headers.get("If-None-Match") == tag:
                self.send_response(304)
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.send_header("ETag", tag)
            self.send_header("Cache-Control", "no-cache")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            if body:
                self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    return Handler
