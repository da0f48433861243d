"""What a handler answers, served on this machine: the tests' hub, judge, wiki, generator, W&B."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # many ask at once


@contextmanager
def bound(handler: type[BaseHTTPRequestHandler], **what: object) -> Iterator[str]:
    """Serve what a handler answers of these on a free port while the block runs; yield the address."""
    server = _Server(("127.0.0.1", 0), type("Bound", (handler,), what))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
