"""What is measured: one generator function for each scenario, which yields the figures of one round.

A round gives the same texts to both servers, and no text is ever used twice otherwise. Each scenario starts fresh
servers, so that no figure depends on what ran before, and measures them one after the other, in turns the first.
"""

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import prompts
from forms import constrained
from lab import SHORT_TOKENS, SHORT_WORDS, WIDTHS, Finding, Lab, Scenario
from loadgen import Request, Stream, Target
from residency import estimates, two_models
from servers import (
    LLAMA_SERVER,
    OFFGRID,
    OFFGRID_PLAIN,
    RAW,
    REPO,
    MeasurementFailed,
    raw_figures,
    running,
    starting,
)

ALONE_TOKENS = 40  # of each running answer before and after, from which its usual gap is known
SAVED_WORDS = 300  # a shorter common beginning is not written to disk
FILE_PATIENCE_S = 30
HEAD_START_S = 0.3  # after which a long prompt is certainly being read


def _in_turn(turn: int) -> tuple[str, str]:
    return (OFFGRID, LLAMA_SERVER) if turn % 2 == 0 else (LLAMA_SERVER, OFFGRID)


def clients(lab: Lab, turn: int) -> Iterator[Finding]:
    """1, 4, 8 and 16 clients with short prompts of their own."""
    n_tokens = lab.sizes.answer_tokens
    with running(_in_turn(turn), lab.settings) as servers:
        for width in WIDTHS:
            requests = lab.requests(f"clients {turn} {width}", width, SHORT_WORDS, n_tokens)
            for server in servers:
                yield Finding(str(width), server.name, server.load(requests, width))
            yield Finding(str(width), RAW, raw_figures(lab.settings, SHORT_TOKENS, n_tokens, width))


def shared_prefix(lab: Lab, turn: int) -> Iterator[Finding]:
    """8 clients at once whose prompts begin with the same long text: one that nobody has sent yet, then a known one."""
    sizes = lab.sizes
    with running(_in_turn(turn), lab.settings) as servers:
        for variant in ("cold", "warm"):
            key = f"shared {turn} {variant}"
            known_by, *requests = lab.requests(key, 9, SHORT_WORDS // 2, sizes.brief_tokens, sizes.prefix_words)
            for server in servers:
                if variant == "warm":
                    server.load([known_by], n_clients=1)
                yield Finding(variant, server.name, server.load(requests, n_clients=8))


def restart(lab: Lab, turn: int) -> Iterator[Finding]:
    """A prompt whose long beginning two others had before the server was started again; and computed by a new one."""
    n_words = max(lab.sizes.prefix_words, SAVED_WORDS)
    requests = lab.requests(f"restart {turn}", 3, SHORT_WORDS // 2, lab.sizes.brief_tokens, n_words)
    with tempfile.TemporaryDirectory(prefix="offgrid-bench-") as folder:
        known, new = Path(folder) / "known", Path(folder) / "new"
        with running([OFFGRID], lab.settings, known) as [server]:
            server.load(requests[:2], n_clients=1)
            _wait_for_file(known / "cache")
        variants = [("known", known), ("computed", new)]
        for variant, data_dir in variants if turn % 2 == 0 else reversed(variants):
            with running([OFFGRID], lab.settings, data_dir) as [server]:
                yield Finding(variant, OFFGRID, server.load(requests[2:], n_clients=1))


def _wait_for_file(folder: Path) -> None:
    deadline = time.monotonic() + FILE_PATIENCE_S
    while not list(folder.glob("*.prefix")):
        if time.monotonic() > deadline:
            raise MeasurementFailed("OffGrid did not save the shared beginning of two prompts")
        time.sleep(0.05)


def distinct(lab: Lab, turn: int) -> Iterator[Finding]:
    """8 clients at once with longer prompts that have nothing in common."""
    requests = lab.requests(f"distinct {turn}", 8, lab.sizes.distinct_words, lab.sizes.brief_tokens)
    with running(_in_turn(turn), lab.settings) as servers:
        for server in servers:
            yield Finding("8", server.name, server.load(requests, n_clients=8))


def turnover(lab: Lab, turn: int) -> Iterator[Finding]:
    """24 new requests from 8 clients after every slot has served another one, and remembers it."""
    n_slots, n_tokens = lab.settings.n_parallel, lab.sizes.turnover_tokens
    earlier = lab.requests(f"turnover {turn} earlier", n_slots, 4 * SHORT_WORDS, n_tokens)
    requests = lab.requests(f"turnover {turn}", 24, SHORT_WORDS, n_tokens)
    with running(_in_turn(turn), lab.settings) as servers:
        for server in servers:
            server.load(earlier, n_clients=n_slots)
            yield Finding("24", server.name, server.load(requests, n_clients=8))


def long_prompt(lab: Lab, turn: int) -> Iterator[Finding]:
    """A short prompt, and three running answers, while somebody else's very long prompt is being read."""
    sizes = lab.sizes
    # More tokens than they will come to, for they are hung up on; all together must fit the context.
    streams = lab.requests(f"long {turn} streams", 3, SHORT_WORDS, 1280)
    [long] = lab.requests(f"long {turn}", 1, sizes.long_words, sizes.brief_tokens)
    [short] = lab.requests(f"long {turn} short", 1, SHORT_WORDS // 2, sizes.brief_tokens)
    with running(_in_turn(turn), lab.settings) as servers:
        for server in servers:
            found = asyncio.run(_beside_long(server.target, streams, long, short))
            yield Finding("1", server.name, found)


async def _beside_long(target: Target, requests: list[Request], long: Request, short: Request) -> dict:
    """The waits of the short prompt and of the running streams; hangs up on the streams at the end."""
    streams = [await Stream.send(target, request) for request in requests]
    await _more_tokens(streams, ALONE_TOKENS)
    all_run_at = max(stream.answer().token_times[0] for stream in streams)
    others = [await Stream.send(target, long)]
    await asyncio.sleep(HEAD_START_S)
    others.append(await Stream.send(target, short))
    await asyncio.gather(*(stream.has_ended for stream in others))
    alone_again_at = time.perf_counter()
    await _more_tokens(streams, ALONE_TOKENS)
    long_answer, short_answer = (stream.answer() for stream in others)
    if any(stream.has_ended.done() for stream in streams) or long_answer.error or short_answer.error:
        raise MeasurementFailed(f"an answer ended too early: {long_answer.error or short_answer.error or streams}")
    for stream in streams:
        stream.hang_up()
    arrivals = [stream.answer().token_times for stream in streams]
    before_s = statistics.median(b - a for a, b in _gaps(arrivals, all_run_at, long_answer.sent_at))
    after_s = statistics.median(b - a for a, b in _gaps(arrivals, alone_again_at, time.perf_counter()))
    meanwhile = _gaps(arrivals, long_answer.sent_at, long_answer.token_times[0])
    read_s = long_answer.ttft_s

    def usual_s(at: float) -> float:
        """Every step takes longer as the texts grow: what is usual lies between before and after."""
        return before_s + (after_s - before_s) * min(max((at - long_answer.sent_at) / read_s, 0), 1)

    return {
        "short_ttft_s": round(short_answer.ttft_s, 4),
        "long_ttft_s": round(read_s, 4),
        "usual_gap_s": round(before_s, 4),
        "usual_gap_after_s": round(after_s, 4),
        "meanwhile_gap_s": round(statistics.median(b - a for a, b in meanwhile), 4),
        "gap_max_s": round(max(b - a for a, b in meanwhile), 4),
        "gap_max_to_usual": round(max((b - a) / usual_s(b) for a, b in meanwhile), 2),
        "long_prompt_tokens": long_answer.prompt_tokens,
    }


async def _more_tokens(streams: list[Stream], n: int) -> None:
    """Wait until each stream has `n` more events, or has ended."""
    wanted = [stream.n_events + n for stream in streams]
    while any(s.n_events < n and not s.has_ended.done() for s, n in zip(streams, wanted, strict=True)):
        await asyncio.sleep(0.01)


def _gaps(arrivals: list[tuple[float, ...]], since: float, until: float) -> list[tuple[float, float]]:
    """(from, to) between one token and the next, of each stream, where that touches `since` to `until`."""
    pairs = [pair for times in arrivals for pair in itertools.pairwise(times)]
    return [(a, b) for a, b in pairs if b > since and a < until]


def idle_cache(lab: Lab, turn: int) -> Iterator[Finding]:
    """Tokens per second with nothing remembered, and with the context full of finished texts of others."""
    sizes = lab.sizes
    n_fill = 1 + lab.settings.n_ctx // sizes.idle_words
    fill = lab.requests(f"idle {turn} fill", n_fill, sizes.idle_words, 1)

    def requests(state: str, width: int) -> list[Request]:
        return lab.requests(f"idle {turn} {state} {width}", width, SHORT_WORDS, sizes.answer_tokens)

    for name in _in_turn(turn):
        for width in WIDTHS:
            with running([name], lab.settings) as [server]:
                yield Finding(f"{width} empty", name, server.load(requests("empty", width), width))
        with running([name], lab.settings) as [server]:
            server.load(fill, n_clients=1)
            for width in WIDTHS:
                yield Finding(f"{width} full", name, server.load(requests("full", width), width))


def start_up(lab: Lab, turn: int) -> Iterator[Finding]:
    """From the start of the process to an answered /health, and to the first token of a prompt of 10 tokens."""
    (REPO / lab.settings.model).read_bytes()  # into the page cache: disks are not compared
    key = f"{lab.key} start {turn}"
    request = Request(prompts.text(key, 10), 8, prompts.seed(key), is_chat=False)
    for name in _in_turn(turn):
        with starting(name, lab.settings) as server:
            health_s = server.wait_until_healthy()
            [answer] = server.ask([request], n_clients=1)
            first_s = answer.token_times[0] - server.started_at
            figures = {"health_s": round(health_s, 3), "first_token_s": round(first_s, 3)}
            yield Finding("1", name, figures | {"prompt_tokens": answer.prompt_tokens})


def memory(lab: Lab, turn: int) -> Iterator[Finding]:
    """Memory of all processes after 8 clients were served, with nothing else running that shares the model's pages."""
    requests = lab.requests(f"memory {turn}", 8, SHORT_WORDS, lab.sizes.turnover_tokens)
    for name in _in_turn(turn):
        with running([name], lab.settings) as [server]:
            server.load(requests, n_clients=8)
            yield Finding("8", name, {"pss_mb": round(server.pss_mb(), 1)})


def idle_cpu(lab: Lab, turn: int) -> Iterator[Finding]:
    """Processor time of a server with a loaded model that nobody asks anything."""
    with running(_in_turn(turn), lab.settings) as servers:
        time.sleep(1)  # what an answer leaves to tidy up is not idling
        before = [sum(server.cpu_s()) for server in servers]
        time.sleep(lab.sizes.idle_s)
        for server, then in zip(servers, before, strict=True):
            percent = 100 * (sum(server.cpu_s()) - then) / lab.sizes.idle_s
            yield Finding("1", server.name, {"cpu_percent": round(percent, 3)})


def copying(lab: Lab, turn: int) -> Iterator[Finding]:
    """OffGrid with speculation and without: a table that is to be rewritten, and text that repeats nothing."""
    order = (OFFGRID, OFFGRID_PLAIN) if turn % 2 == 0 else (OFFGRID_PLAIN, OFFGRID)
    sizes = lab.sizes
    with running(order, lab.settings) as servers:
        # Twice, the second time in the other order: a difference of 3 % drowns in one that came with the minute.
        for again, in_order in enumerate((servers, servers[::-1])):
            key = f"copying {turn} {again}"
            loads = {"copy": ([_rewriting(lab, f"{key} {i}") for i in range(4)], 1)}
            for width in (1, 8):
                requests = lab.requests(f"{key} free {width}", width, SHORT_WORDS, sizes.answer_tokens)
                loads[f"free {width}"] = (requests, width)
            for variant, (requests, width) in loads.items():
                for server in in_order:
                    yield Finding(variant, server.name, server.load(requests, width))


def _rewriting(lab: Lab, key: str) -> Request:
    text = prompts.table(f"{lab.key} {key}", lab.sizes.table_rows)
    question = "Repeat the following table exactly:\n"  # small models change too much when they are to change one thing
    return Request(question + text, lab.sizes.copied_tokens, prompts.seed(key), temperature=0)


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        clients,
        shared_prefix,
        restart,
        distinct,
        turnover,
        long_prompt,
        idle_cache,
        start_up,
        memory,
        idle_cpu,
        copying,
        constrained,
        two_models,
        estimates,
    )
}
