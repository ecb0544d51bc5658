"""Faults that a study meets: each breaks a study on the way and returns the results of the commands that met it."""

import http.server
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from chaos.study import Result, Study, finish

HERE = Path(__file__).parent
DISK_KB = 200_000
Fault = Callable[[Study, random.Random, float], tuple[str, list[Result]]]  # study, chance, seconds of a whole launch


def signaled(number: int, whole_group: bool = False) -> Fault:
    """Return the fault that a launch receives a signal at a random moment, alone or with all its jobs."""

    def inject(study: Study, chance: random.Random, seconds: float) -> tuple[str, list[Result]]:
        process = study.start()
        after_s = chance.uniform(0.2, seconds)
        time.sleep(after_s)
        with suppress(ProcessLookupError):
            (os.killpg if whole_group else os.kill)(process.pid, number)
        return f"{signal.Signals(number).name} after {after_s:.1f} s", [finish(process)]

    return inject


def paused(study: Study, chance: random.Random, seconds: float) -> tuple[str, list[Result]]:
    """Stop a launch with all its jobs for some seconds, as Ctrl-Z does or a suspended laptop."""
    process = study.start()
    after_s = chance.uniform(0.2, seconds)
    time.sleep(after_s)
    for number, pause_s in ((signal.SIGSTOP, chance.uniform(0.5, 8.0)), (signal.SIGCONT, 0.0)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        time.sleep(pause_s)
    return f"stopped after {after_s:.1f} s", [finish(process)]


@contextmanager
def small_disk(study: Study, size_kb: int) -> Iterator[Callable[[str], None]]:
    """Mount a file system in memory as the folder of all runs; the function mounts it again with other options."""
    runs = study.root.parent
    runs.mkdir(parents=True, exist_ok=True)

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(runs)], check=True, capture_output=True)

    mount(f"size={size_kb}k")
    try:
        yield mount
    finally:
        mount(f"remount,rw,size={DISK_KB}k")


def full_disk(study: Study, chance: random.Random, _: float) -> tuple[str, list[Result]]:
    size_kb = chance.randint(30, 3000)
    with small_disk(study, size_kb):
        result = study.launch()
    return f"{size_kb} kB", [result]


def read_only(study: Study, chance: random.Random, seconds: float) -> tuple[str, list[Result]]:
    """Make the file system read-only at a random moment, as Linux does after an error of the disk."""
    with small_disk(study, DISK_KB) as mount:
        process = study.start()
        after_s = chance.uniform(0.2, seconds)
        time.sleep(after_s)
        for _ in range(20):  # it is busy while a file is open for writing
            with suppress(subprocess.CalledProcessError):
                mount("remount,ro")
                break
            time.sleep(0.05)
        result = finish(process)
    return f"after {after_s:.1f} s", [result]


def damaged(change: Callable[[Path, random.Random], str]) -> Fault:
    """Return the fault that one file of a finished study changes."""

    def inject(study: Study, chance: random.Random, _: float) -> tuple[str, list[Result]]:
        files = sorted(path for path in study.root.rglob("*") if path.is_file() and path.stat().st_size)
        by_kind: dict[tuple[str, str], list[Path]] = {}
        for path in files:
            by_kind.setdefault((path.suffix, path.parent.name if path.suffix == ".json" else ""), []).append(path)
        file = chance.choice(by_kind[chance.choice(sorted(by_kind))])
        return f"{change(file, chance)} {file.relative_to(study.root)}", []

    return inject


def delete(file: Path, _: random.Random) -> str:
    file.unlink()
    return "deleted"


def truncate(file: Path, chance: random.Random) -> str:
    size = chance.randrange(file.stat().st_size)
    os.truncate(file, size)
    return f"truncated to {size} bytes:"


def flip_bit(file: Path, chance: random.Random) -> str:
    content = bytearray(file.read_bytes())
    position, bit = chance.randrange(len(content)), chance.randrange(8)
    content[position] ^= 1 << bit
    file.write_bytes(content)
    return f"flipped bit {bit} of byte {position} of"


def jumping_clock(study: Study, _chance: random.Random, _seconds: float) -> tuple[str, list[Result]]:
    return "", [finish(study.start(PYTHONPATH=str(HERE / "clock")))]


def two_launchers(study: Study, chance: random.Random, seconds: float) -> tuple[str, list[Result]]:
    delay_s = chance.uniform(0, seconds)
    first = study.start()
    time.sleep(delay_s)
    second = study.start()
    results: list[Result] = []
    waiting = threading.Thread(target=lambda: results.append(finish(first)))
    waiting.start()
    results.append(finish(second))
    waiting.join()
    return f"the second after {delay_s:.1f} s", results


def wandb_server(status: int, body: bytes, delay_s: float) -> Fault:
    """Return the fault that a W&B server answers every request with the same status and body, after a delay."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            time.sleep(delay_s)
            with suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        do_GET = do_PUT = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    def inject(study: Study, _chance: random.Random, _seconds: float) -> tuple[str, list[Result]]:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            return "", [finish(study.start(WANDB_BASE_URL=f"http://127.0.0.1:{server.server_port}", **ONLINE))]
        finally:
            server.shutdown()
            server.server_close()

    return inject


ONLINE = {"WANDB_API_KEY": "k" * 40, "WANDB_MODE": "online"}


def wandb_gone(study: Study, _chance: random.Random, _seconds: float) -> tuple[str, list[Result]]:
    return "", [finish(study.start(WANDB_BASE_URL="http://127.0.0.1:9", **ONLINE))]  # where no server listens


# Kinds by name, with their weight in a campaign. Those of W&B take minutes, until its client gives up.
KINDS: dict[str, tuple[Fault, int]] = {
    "SIGKILL of everything": (signaled(signal.SIGKILL, whole_group=True), 12),
    "SIGKILL of the launcher": (signaled(signal.SIGKILL), 6),
    "SIGTERM": (signaled(signal.SIGTERM), 8),
    "SIGINT (Ctrl-C)": (signaled(signal.SIGINT, whole_group=True), 8),
    "SIGSTOP, SIGCONT": (paused, 5),
    "full disk": (full_disk, 10),
    "read-only file system": (read_only, 8),
    "deleted file": (damaged(delete), 10),
    "truncated file": (damaged(truncate), 12),
    "flipped bit": (damaged(flip_bit), 12),
    "clock that jumps": (jumping_clock, 3),
    "two launchers": (two_launchers, 4),
    "W&B server gone": (wandb_gone, 1),
    "W&B server full": (wandb_server(507, b"insufficient storage", 0.0), 1),
    "W&B server wrong": (wandb_server(200, b"<html>not W&B</html>", 0.0), 1),
    "W&B server slow": (wandb_server(503, b"busy", 5.0), 1),
}
NEEDS_RESULTS = ("deleted file", "truncated file", "flipped bit")
NEEDS_WANDB = tuple(name for name in KINDS if name.startswith("W&B"))
