"""The programs that are compared: how each is started with equal settings, ended, and looked at from outside.

Knows processes and HTTP, nothing of scenarios. Linux only: memory and processor time are read from /proc.
"""

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import build_llama
import loadgen

REPO = Path(__file__).resolve().parent.parent
PROGRAMS = build_llama.PROGRAMS.relative_to(REPO)
OFFGRID, LLAMA_SERVER, RAW = "OffGrid", "llama-server", "llama.cpp"
OFFGRID_PLAIN = "OffGrid without speculation"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
START_PATIENCE_S = 120
STOP_PATIENCE_S = 30


class MeasurementFailed(Exception):
    """A figure would not mean what it says: a request failed, a server did not start."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is equal for all programs."""

    model: Path
    n_parallel: int = 16
    n_ctx: int = 8192  # cells, shared by all running answers
    n_batch: int = 512
    kv_type: str = "f16"
    n_threads: int = 2
    offgrid_flags: tuple[object, ...] = ()  # of OffGrid alone, where it is not compared
    llama_flags: tuple[object, ...] = ()  # of llama-server alone, for what it does only when told so


def command(name: str, settings: Settings, port: int | str, data_dir: Path | str) -> list[str]:
    """The command line of one server, to be run in the checkout's folder."""
    if name == LLAMA_SERVER:
        listen = {"--host": "127.0.0.1", "--port": port, "-np": settings.n_parallel}
        words = [*_words(listen | _llama_flags(settings)), *map(str, settings.llama_flags)]
        return [f"{PROGRAMS}/llama-server", "--no-webui", "-kvu", *words]
    flags = {
        "--host": "127.0.0.1",
        "--port": port,
        "--parallel": settings.n_parallel,
        "--models-dir": settings.model.parent,
        "--default-model": settings.model.stem,
        "--ctx-size": settings.n_ctx,
        "--batch-size": settings.n_batch,
        "--kv-cache-type": settings.kv_type,
        "--threads": settings.n_threads,
        "--data-dir": data_dir,
    }
    if name == OFFGRID_PLAIN:
        flags["--speculation"] = "off"
    return [sys.executable, "offgrid.py", "serve", *_words(flags), *map(str, settings.offgrid_flags)]


def _llama_flags(settings: Settings) -> dict[str, object]:
    return {
        "-m": settings.model,
        "-c": settings.n_ctx,
        "-b": settings.n_batch,
        "-ub": settings.n_batch,
        "-ctk": settings.kv_type,
        "-ctv": settings.kv_type,
        "-t": settings.n_threads,
    }


def _words(flags: dict[str, object]) -> list[str]:
    return [str(word) for pair in flags.items() for word in pair]


def raw_command(settings: Settings, n_prompt: int, n_tokens: int, n_streams: int | str) -> list[str]:
    """llama.cpp's own benchmark of the same work: decoding without sampling, text or HTTP."""
    work = {"-npp": n_prompt, "-ntg": n_tokens, "-npl": n_streams, "--output-format": "jsonl"}
    return [f"{PROGRAMS}/llama-batched-bench", "-kvu", *_words(_llama_flags(settings) | work)]


def raw_figures(settings: Settings, n_prompt: int, n_tokens: int, n_streams: int) -> dict:
    """Tokens per second of llama.cpp itself: with the prompts' time counted, as for the servers, and without."""
    words = raw_command(settings, n_prompt, n_tokens, n_streams)
    done = subprocess.run(words, cwd=REPO, env=_environment(), capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            found = json.loads(line)
            whole_s = found["t_pp"] + found["t_tg"]
            return {
                "tokens_per_s": round(n_tokens * n_streams / whole_s, 2),
                "decode_tokens_per_s": round(found["speed_tg"], 2),
            }
    raise MeasurementFailed(f"{words[0]} gave no figures (exit status {done.returncode}): {done.stderr[-1000:]}")


class Server:
    """One server process with a port of its own, whose log goes to `folder`."""

    def __init__(self, name: str, settings: Settings, folder: Path, data_dir: Path):
        self.name = name
        self.port = _free_port()
        self.target = loadgen.Target("127.0.0.1", self.port, settings.model.stem)
        self._folder = folder
        words = command(name, settings, self.port, data_dir)
        self.started_at = time.perf_counter()
        with (folder / "output.log").open("wb") as log:
            self.process = subprocess.Popen(words, cwd=REPO, env=_environment(), stdout=log, stderr=subprocess.STDOUT)

    def wait_until_healthy(self) -> float:
        """Seconds from the start of the process to the first byte of a /health that is answered 200."""
        while time.perf_counter() - self.started_at < START_PATIENCE_S and self.process.poll() is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            with suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return time.perf_counter() - self.started_at
            connection.close()
            time.sleep(0.002)
        raise MeasurementFailed(f"{self.name} did not start:\n{self._last_words()}")

    def ask(self, requests: list[loadgen.Request], n_clients: int) -> list[loadgen.Answer]:
        """Complete answers with all the tokens that were asked for; else raises MeasurementFailed."""
        try:
            answers = asyncio.run(loadgen.run(self.target, requests, n_clients))
        except OSError as error:
            raise MeasurementFailed(f"{self.name}: {error}") from error
        if errors := [answer.error for answer in answers if answer.error]:
            raise MeasurementFailed(f"{self.name}: {len(errors)} requests failed: {errors[0]}\n{self._last_words()}")
        n_given, n_asked = sum(a.completion_tokens for a in answers), sum(r.max_tokens for r in requests)
        if n_given != n_asked:
            raise MeasurementFailed(f"{self.name} gave {n_given} tokens; it was asked for {n_asked}.")
        return answers

    def get(self, path: str) -> dict:
        return self._call("GET", path)

    def post(self, path: str, body: dict) -> dict:
        return self._call("POST", path, json.dumps(body), {"Content-Type": "application/json"})

    def _call(self, *request) -> dict:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_PATIENCE_S)
        try:
            connection.request(*request)
            answer = connection.getresponse()
            body = json.load(answer)
        except OSError as error:
            raise MeasurementFailed(f"{self.name}: {request[1]}: {error}") from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise MeasurementFailed(f"{self.name}: {request[1]}: {answer.status} {body}")
        return body

    def load(self, requests: list[loadgen.Request], n_clients: int) -> dict:
        """The figures of one load, with the processor time in µs that each token took. Raises MeasurementFailed."""
        before, own_before = self.cpu_s(), time.process_time()
        answers = self.ask(requests, n_clients)
        own_s = time.process_time() - own_before
        main_s, children_s = (now - then for now, then in zip(self.cpu_s(), before, strict=True))
        found = loadgen.figures(answers)
        us_per_token = 1e6 / found["tokens"]
        return found | {
            "main_cpu_us": round(main_s * us_per_token, 1),
            "children_cpu_us": round(children_s * us_per_token, 1),
            "client_cpu_us": round(own_s * us_per_token, 1),
        }

    def cpu_s(self) -> tuple[float, float]:
        """Processor seconds so far of the process that was started, and of all its descendants together."""
        main, *children = [_cpu_s(pid) for pid in _tree(self.process.pid)]
        return main, sum(children)

    @property
    def n_children(self) -> int:
        return len(_tree(self.process.pid)) - 1

    def pss_mb(self) -> float:
        """Memory of all its processes in MB; a page that several processes share counts in parts (PSS)."""
        return sum(_pss_kb(pid) for pid in _tree(self.process.pid)) * 1024 / 1e6

    def _last_words(self) -> str:
        """The ends of its logs, which are deleted with their folder."""
        logs = sorted(self._folder.rglob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def starting(name: str, settings: Settings, data_dir: Path | None = None):
    """A server that has just been started, ended afterwards with all that it wrote, unless it was given `data_dir`."""
    with tempfile.TemporaryDirectory(prefix="offgrid-bench-") as folder:
        server = Server(name, settings, Path(folder), data_dir or Path(folder) / "data")
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def running(names: Iterable[str], settings: Settings, data_dir: Path | None = None):
    """Servers fresh from the start, healthy and warmed up by one short answer, in the given order."""
    with ExitStack() as stack:
        servers = [stack.enter_context(starting(name, settings, data_dir)) for name in names]
        for server in servers:
            server.wait_until_healthy()
            server.load([loadgen.Request("Hello!", 8, seed=1)], n_clients=1)
        yield servers


def _environment() -> dict[str, str]:
    """Ours, without variables that would change the settings of a program that is measured."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("OFFGRID_", "LLAMA_ARG_", "OMP_", "GOMP_"))}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _tree(pid: int) -> list[int]:
    """The process and all its descendants, itself first."""
    children = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended just now
            children += (task / "children").read_text().split()
    return [pid, *(p for child in children for p in _tree(int(child)))]


def _cpu_s(pid: int) -> float:
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS_PER_S  # utime, stime


def _pss_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
