"""Faults of the W&B server: gone, wrong, slow, full, or gone in the middle of a study."""

import http.server
import random
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from wandb_server import KEY, WandbServer

from chaos.study import Result, Study, finish

ONLINE = {"WANDB_API_KEY": KEY, "WANDB_MODE": "online"}


def server_gone(study: Study, _chance: random.Random, _seconds: float) -> tuple[str, list[Result]]:
    return "", [finish(study.start(WANDB_BASE_URL="http://127.0.0.1:9", **ONLINE))]  # where no server listens


def server_stops(study: Study, chance: random.Random, _: float) -> tuple[str, list[Result]]:
    """Stop a server after some requests: it closes its port, or accepts requests and never answers."""
    server, requests, closes = WandbServer(), chance.randint(1, 40), chance.random() < 0.5
    server.start()
    process = study.start(WANDB_BASE_URL=server.address, **ONLINE)
    try:
        while process.poll() is None and len(server.requests) < requests:
            time.sleep(0.05)
        server.stop() if closes else server.answering.clear()
        result = finish(process)
    finally:
        server.stop()
    return f"{'closed' if closes else 'silent'} after {len(server.requests)} requests", [result]


@dataclass(frozen=True)
class ServerAnswers:
    """The fault that a server answers every request with the same status and body, after a delay."""

    status: int
    body: bytes
    delay_s: float = 0.0

    def __call__(self, study: Study, _chance: random.Random, _seconds: float) -> tuple[str, list[Result]]:
        handler = type("Handler", (_Handler,), {"fault": self})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            return "", [finish(study.start(WANDB_BASE_URL=f"http://127.0.0.1:{server.server_port}", **ONLINE))]
        finally:
            server.shutdown()
            server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    fault: ServerAnswers

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(self.fault.delay_s)
        with suppress(OSError):
            self.send_response(self.fault.status)
            self.send_header("Content-Length", str(len(self.fault.body)))
            self.end_headers()
            self.wfile.write(self.fault.body)

    do_GET = do_PUT = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None: ...
