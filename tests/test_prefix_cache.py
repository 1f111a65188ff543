"""Shared prefixes: nothing is computed twice, nothing wrong is shared, and idle cells give way."""

import random
import threading

import pytest
from engine_bench import Bench
from running import wait_until

from offgrid.worker import prefix_format
from offgrid.worker.fake import FakeModel
from offgrid.worker.prefix_cache import STRIDE
from offgrid.worker.prefix_files import PrefixFiles

DOCUMENT = "The harbour opens at six and closes at ten. " * 8  # 352 tokens of the fake model


def bench_of(**kw) -> Bench:
    return Bench(model=FakeModel(n_ctx=4096, n_batch=64, one_in_n_ends=0), **kw)


def ask(bench: Bench, *questions: str, n: int = 10) -> list[int]:
    """Submit a question about the document each, run, and check the texts."""
    ids = [bench.submit(DOCUMENT + question, n) for question in questions]
    bench.run()
    for id, question in zip(ids, questions, strict=True):
        assert bench.channel.texts[id] == bench.model.expected(DOCUMENT + question, n)
    return ids


def cached(bench: Bench, id: int) -> int:
    return bench.channel.ends[id].usage.cached_tokens


def test_a_prompt_seen_before_is_taken_from_the_cache():
    bench = bench_of()
    (first,) = ask(bench, "When?")
    before = bench.model.n_computed
    (second,) = ask(bench, "Where?")
    assert cached(bench, first) == 0
    assert cached(bench, second) >= len(DOCUMENT)
    assert bench.model.n_computed - before < 40


def test_simultaneous_prompts_with_one_beginning_compute_it_once():
    bench = bench_of(n_slots=8)
    ids = ask(bench, *(f"Question {i}" for i in range(8)))
    assert [cached(bench, id) >= len(DOCUMENT) for id in ids] == [False] + [True] * 7
    assert bench.model.n_computed < len(DOCUMENT) + 8 * 40


def test_the_one_that_is_computed_for_others_may_hang_up_and_they_go_on():
    bench = bench_of(n_slots=4)
    first = bench.submit(DOCUMENT + "a", 10)
    others = [bench.submit(DOCUMENT + c, 10) for c in "bcd"]
    bench.step()
    bench.step()
    bench.cancel(first)
    bench.run()
    for id, c in zip(others, "bcd", strict=True):
        assert bench.channel.texts[id] == bench.model.expected(DOCUMENT + c, 10)


def test_the_next_turn_of_a_conversation_computes_only_what_is_new():
    bench = bench_of()
    id = bench.submit(DOCUMENT, 30)
    bench.run()
    turn = DOCUMENT + bench.channel.texts[id] + " And then?"
    next_id = bench.submit(turn, 30)
    bench.run()
    assert cached(bench, next_id) >= len(DOCUMENT) + 29
    assert bench.channel.texts[next_id] == bench.model.expected(turn, 30)


def test_the_very_same_prompt_still_computes_its_last_token():
    bench = bench_of()
    first, second = *ask(bench, "Same"), *ask(bench, "Same")
    assert cached(bench, first) == 0
    assert cached(bench, second) == len(DOCUMENT + "Same") - 1


def test_idle_cells_stay_within_their_bound_and_what_leaves_them_comes_back_from_memory():
    bench = bench_of(hot_cells=100)
    ask(bench, "When?")
    assert bench.kv.n_used <= 100
    assert bench.cache.n_warm_bytes > 0
    (again,) = ask(bench, "Where?")
    assert cached(bench, again) >= len(DOCUMENT)


def test_saved_prefixes_stay_within_their_bytes():
    bench = bench_of(hot_cells=0, warm_bytes=100_000)
    for i in range(30):
        bench.submit(f"{i} is the number of this one. " * 10, 5)
        bench.run()
        assert bench.cache.n_warm_bytes <= 100_000


def test_without_memory_for_it_nothing_is_saved_and_everything_still_works():
    bench = bench_of(hot_cells=0, warm_bytes=0)
    ask(bench, "When?")
    (again,) = ask(bench, "Where?")
    assert cached(bench, again) == 0
    assert bench.kv.n_used == 0


def test_running_requests_push_idle_prefixes_out_of_the_cells():
    bench = Bench(n_slots=2, model=FakeModel(n_ctx=512, n_batch=64, one_in_n_ends=0), hot_cells=512)
    ask(bench, "When?")
    other = "Something else entirely, and quite long. " * 10
    id = bench.submit(other, 60)
    bench.run()
    assert bench.channel.texts[id] == bench.model.expected(other, 60)


def test_many_sharing_one_document_run_together_although_their_sum_exceeds_the_cells():
    bench = Bench(n_slots=8, model=FakeModel(n_ctx=1024, n_batch=64, one_in_n_ends=0))
    ids = [bench.submit(DOCUMENT + f"{i}", 20) for i in range(8)]
    most = 0
    while not bench.is_idle:
        bench.step()
        most = max(most, len(bench.scheduler.running))
    assert most == 8  # 8 × 353 tokens on 1024 cells
    assert all(cached(bench, id) for id in ids[1:])


def test_a_parked_sequence_goes_on_from_what_was_saved():
    bench = Bench(n_slots=2, model=FakeModel(n_ctx=256, n_batch=64, one_in_n_ends=0), hot_cells=0)
    for prompt in ("first", "other"):
        bench.submit(prompt * 4, 200)
    bench.run()
    assert bench.model.n_computed < 2 * 220 + 50


def test_conversations_over_one_document_keep_it_once_in_memory():
    bench = bench_of(hot_cells=0)
    ask(bench, "When?", n=60)
    n_first = bench.cache.n_warm_bytes
    for question in ("Where?", "Why not?", "By whom?"):
        ask(bench, question, n=60)
    assert n_first >= 100 * len(DOCUMENT)
    assert bench.cache.n_warm_bytes - n_first < 3 * 100 * 80  # their own tokens alone
    for question in ("When?", "Where?", "Why not?", "By whom?"):
        id = bench.submit(DOCUMENT + question + bench.model.expected(DOCUMENT + question, 50) + "!", 10)
        bench.run()
        assert cached(bench, id) >= len(DOCUMENT + question) + 50
        assert bench.channel.texts[id] == bench.model.expected(DOCUMENT + question + text_of(bench, question) + "!", 10)


def text_of(bench: Bench, question: str) -> str:
    return bench.model.expected(DOCUMENT + question, 50)


def test_a_long_conversation_keeps_each_token_once():
    bench = bench_of(hot_cells=0)
    prompt = DOCUMENT
    for _ in range(8):
        id = bench.submit(prompt, 50)
        bench.run()
        prompt += bench.channel.texts[id] + " And then, what happened?"
    assert bench.cache.n_warm_bytes <= 100 * len(prompt)
    assert len(bench.cache._prefixes) == 1


def test_the_document_stays_when_the_first_conversation_about_it_goes():
    bench = bench_of(hot_cells=0, warm_bytes=110_000)
    ask(bench, "When?", n=60)
    for question in ("Where?", "Why not?", "By whom?", "How many?", "Which?", "Whose?", "Really?", "Is it?", "Sure?"):
        (id,) = ask(bench, question, n=60)
        assert cached(bench, id) >= len(DOCUMENT)


@pytest.mark.parametrize("kind", [{"is_whole": True}, {"n_window": 40}])
def test_a_memory_that_cannot_be_cut_is_saved_where_it_will_be_needed(kind):
    bench = Bench(model=FakeModel(n_ctx=4096, n_batch=64, one_in_n_ends=0, **kind), hot_cells=0)
    ids = [ask(bench, question)[0] for question in ("When?", "Where?", "Any?", "Any?")]
    assert [cached(bench, id) > len(DOCUMENT) - STRIDE for id in ids] == [False, False, True, True]


# --- on disk ---


def files_in(folder, model: FakeModel, *, max_bytes: int = 10**8) -> PrefixFiles:
    return PrefixFiles(
        folder,
        b"f" * 32,
        max_bytes=max_bytes,
        max_state_bytes=10**6,
        max_tokens=model.n_ctx,
        shortest_cut=model.shortest_cut,
    )


def restarted(folder, **kw) -> Bench:
    model = FakeModel(n_ctx=4096, n_batch=64, one_in_n_ends=0)
    return Bench(model=model, files=files_in(folder, model), hot_cells=0, **kw)


def test_what_two_prompts_begin_with_is_known_after_a_restart(tmp_path):
    bench = restarted(tmp_path)
    ask(bench, "When?", "For whom?")
    wait_until(lambda: list(tmp_path.glob("*.prefix")))
    bench = restarted(tmp_path, n_slots=8)
    ids = ask(bench, *(f"{i} times?" for i in range(8)))
    assert all(cached(bench, id) >= len(DOCUMENT) for id in ids)
    assert bench.model.n_computed < 8 * 40
    [path] = tmp_path.iterdir()
    stored = PrefixFiles.find(files_in(tmp_path, bench.model), list(f"{DOCUMENT}x".encode()))
    assert bytes(stored.tokens).decode() == DOCUMENT  # neither question nor answer
    assert stored.path == path


def test_one_conversation_alone_leaves_nothing_on_disk(tmp_path):
    bench = restarted(tmp_path)
    prompt = DOCUMENT
    for _ in range(4):
        id = bench.submit(prompt, 50)
        bench.run()
        prompt += bench.channel.texts[id] + " And then, what happened?"
    bench.submit(prompt[:-60] + " (as the template writes the answer) " + prompt[-60:], 5)
    bench.run()
    assert not bench.cache.files._stored


def test_a_request_cancelled_while_its_file_is_read_ends_in_silence(tmp_path, monkeypatch):
    bench = restarted(tmp_path)
    ask(bench, "When?", "Where?")
    wait_until(lambda: list(tmp_path.glob("*.prefix")))
    bench = restarted(tmp_path)
    may_read = threading.Event()
    read_state = prefix_format.read_state
    monkeypatch.setattr(prefix_format, "read_state", lambda *args: may_read.wait(5) and read_state(*args))
    gone, stays = bench.submit(DOCUMENT + "Gone", 10), bench.submit(DOCUMENT + "Stays", 10)
    bench.cancel(gone)
    may_read.set()
    bench.run()
    assert gone not in bench.channel.ends
    assert cached(bench, stays) >= len(DOCUMENT)
    assert all(sampler.is_closed for sampler in bench.model.samplers)


def test_a_state_that_the_device_refuses_is_computed_instead():
    bench = bench_of(hot_cells=0)
    ask(bench, "When?")
    bench.model.restore = lambda id, state: False
    (again,) = ask(bench, "Where?")
    assert cached(bench, again) == 0


def test_clients_with_many_requests_do_not_hold_up_a_client_with_one():
    bench = bench_of(n_slots=2)
    busy = [bench.submit(f"{i} from the busy one", 10, client="busy") for i in range(10)]
    quiet = bench.submit("one question", 10, client="quiet")
    bench.run()
    order = list(bench.channel.ends)
    assert order.index(quiet) < order.index(busy[3])


def test_a_short_prompt_overtakes_a_long_one_that_is_being_computed():
    bench = bench_of(n_slots=2)
    long = bench.submit("A very long story indeed. " * 100, 5)
    bench.step()
    short = bench.submit("short", 1)
    bench.step()
    bench.step()
    assert short in bench.channel.ends
    assert long not in bench.channel.ends


KINDS = {"plain": {}, "whole": {"is_whole": True}, "windowed": {"n_window": 40}}


def random_run(seed: int, n_steps: int, kind: str, folder) -> None:
    """Random submit, cancel and abort, with the books compared after each step and every text in the end; then twice
    more as after a restart, with what is on the disk by then, some of it damaged."""
    draw = random.Random(seed)
    n_ctx = draw.choice([256, 700, 2048])
    stems = ["".join(draw.choices("abcd ", k=draw.randint(20, 90))) for _ in range(4)]
    if n_ctx > 256:
        stems += ["".join(draw.choices("abcd ", k=draw.randint(300, 360))) for _ in range(3)]
    for _ in range(3):
        n_batch = draw.choice([32, 64])
        model = FakeModel(n_ctx=n_ctx, n_batch=n_batch, one_in_n_ends=25, **KINDS[kind])
        bench = Bench(
            n_slots=draw.choice([2, 5, 12]),
            model=model,
            hot_cells=draw.choice([0, 60, 400]),
            warm_bytes=draw.choice([0, 40_000, 200_000]),
            files=files_in(folder, model, max_bytes=draw.choice([80_000, 10**6])),
        )
        live(bench, draw, n_steps // 3, stems)
        for path in folder.glob("*.prefix"):
            if draw.random() < 0.3:
                damage(path, draw)


def damage(path, draw: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    if draw.random() < 0.5:
        del raw[draw.randrange(len(raw)) :]
    else:
        raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
    path.write_bytes(raw)


def live(bench: Bench, draw: random.Random, n_steps: int, stems: list[str]) -> None:
    model = bench.model
    asked, cancelled = {}, set()
    for _ in range(n_steps):
        action = draw.random()
        if action < 0.2:
            stem = draw.choice(stems)
            prompt = stem[: draw.choice([draw.randint(1, 90), len(stem)])]
            prompt += "".join(draw.choices("abcd ", k=draw.randint(0, 30)))
            n = draw.randint(1, 60)
            if len(prompt) < model.n_ctx:
                asked[bench.submit(prompt, n, client=draw.choice("xyz"))] = (prompt, n)
        elif action < 0.25 and asked:
            cancelled.add(draw.choice(list(asked)))
            bench.cancel(list(cancelled)[-1])
        elif action < 0.26 and not model.is_whole:
            model.abort_next = not bench.is_idle
        elif action < 0.27 and bench.scheduler.is_idle:
            bench.scheduler.rest()
        bench.step()
    bench.run(most_steps=50_000)
    for id, (prompt, n) in asked.items():
        if id in bench.channel.ends:
            assert bench.channel.n_terminal[id] == 1
            assert bench.channel.texts.get(id, "") == model.expected(prompt, min(n, model.n_ctx - len(prompt)))
        else:
            assert id in cancelled
    assert bench.cache.n_idle == model.n_used
    assert all(sampler.is_closed for sampler in model.samplers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_random_requests_with_common_beginnings_get_their_own_text(seed, kind, tmp_path):
    random_run(seed, 900, kind, tmp_path)


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(100, 107))
def test_a_hundred_thousand_random_steps(seed, kind, tmp_path):
    random_run(seed, 5000, kind, tmp_path)
