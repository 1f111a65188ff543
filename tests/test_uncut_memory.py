"""Models whose memory cannot be cut anywhere: what is taken from the cache gives the text of a context used alone."""

import pytest
import tiny_memories
from engine_bench import Bench
from running import wait_until
from test_model_memory import fresh_logits, load

from offgrid.types import Sampling
from offgrid.worker import library
from offgrid.worker.fingerprint import fingerprint
from offgrid.worker.model import Model
from offgrid.worker.prefix_cache import STRIDE
from offgrid.worker.prefix_files import PrefixFiles

pytestmark = pytest.mark.model  # many seconds: each test starts processes of its own

STORY = "Once upon a time there was a lighthouse whose keeper could not read. " * 5  # 345 letters, about as many tokens
GREEDY = Sampling(temperature=0, ignore_eos=True)


@pytest.fixture(scope="module", params=tiny_memories.MODELS)
def path(request, tmp_path_factory):
    library.set_up()
    return tiny_memories.MODELS[request.param](tmp_path_factory.mktemp("tiny") / f"{request.param}.gguf")


@pytest.fixture(scope="module")
def reference(path) -> Model:
    return load(path, 1024, 1)


class ModelBench(Bench):
    """The engine on a real model, greedy."""

    def __init__(self, path, *, n_slots: int = 4, n_ctx: int = 2048, **kw):
        super().__init__(model=load(path, n_ctx, n_slots), n_slots=n_slots, hot_cells=0, **kw)

    def tokens(self, prompt: str) -> list[int]:
        return self.model.tokenize(prompt, add_special=True, parse_special=True)

    sampling = GREEDY

    def check(self) -> None:
        self.scheduler.check_integrity()


def ask(bench: ModelBench, *prompts: str, n: int = 12) -> list[int]:
    """Submit them all at once and run; returns their ids."""
    ids = [bench.submit(prompt, n) for prompt in prompts]
    bench.run()
    return ids


def alone(reference: Model, prompt: str, n: int = 12) -> str:
    """The greedy text of a context that holds nothing else, computed afresh for every token."""
    tokens = reference.tokenize(prompt, add_special=True, parse_special=True)
    text = b""
    for _ in range(n):
        logits = fresh_logits(reference, tokens)
        logits[list(reference.eog_tokens)] = -1e9
        tokens = [*tokens, int(logits.argmax())]
        text += reference.piece(tokens[-1])
    return text.decode("utf-8", "replace")


def cached(bench: Bench, id: int) -> int:
    return bench.channel.ends[id].usage.cached_tokens


def test_the_next_turn_of_a_conversation_goes_on_from_the_last(path, reference):
    bench = ModelBench(path)
    prompt = STORY
    for _ in range(3):
        (id,) = ask(bench, prompt)
        assert bench.channel.texts[id] == alone(reference, prompt)
        prompt += bench.channel.texts[id] + " And then?"
    assert cached(bench, id) > len(bench.tokens(STORY))


def test_the_same_prompt_again_computes_one_token(path, reference):
    bench = ModelBench(path)
    for _ in range(3):
        (id,) = ask(bench, STORY)
        assert bench.channel.texts[id] == alone(reference, STORY)
    assert cached(bench, id) == len(bench.tokens(STORY)) - 1


def test_the_third_prompt_over_one_document_takes_it_from_the_cache(path, reference):
    bench = ModelBench(path)
    for question in ("Who?", "Where?", "Any others?"):
        (id,) = ask(bench, STORY + question)
        assert bench.channel.texts[id] == alone(reference, STORY + question)
    assert cached(bench, id) > len(bench.tokens(STORY)) - STRIDE


def test_several_at_once_with_one_beginning_get_their_own_text(path, reference):
    bench = ModelBench(path)
    prompts = [STORY + question for question in ("Who?", "Where?", "Any others?", "Why?", "When?", "How?")]
    for _ in range(2):
        for id, prompt in zip(ask(bench, *prompts), prompts, strict=True):
            assert bench.channel.texts[id] == alone(reference, prompt)


def test_cancelling_leaves_nothing_wrong_behind(path, reference):
    bench = ModelBench(path)
    for n_steps in range(8):
        gone = bench.submit(STORY + "Gone", 12)
        other = bench.submit(STORY + "Other", 12)
        for _ in range(n_steps):
            bench.step()
        bench.cancel(gone)
        bench.run()
        assert bench.channel.texts[other] == alone(reference, STORY + "Other")


def test_a_parked_sequence_goes_on_as_if_nothing_had_been(path, reference):
    bench = ModelBench(path, n_slots=3, n_ctx=768)
    prompts = [f"{i} " + STORY[:150] for i in range(3)]
    for id, prompt in zip(ask(bench, *prompts, n=300), prompts, strict=True):
        assert bench.channel.texts[id][:40] == alone(reference, prompt, 40)[:40]
        assert bench.channel.ends[id].usage.completion_tokens == 300


def test_a_trunk_survives_a_restart(path, reference, tmp_path):
    def restarted() -> ModelBench:
        model = load(path, 1024, 1)
        files = PrefixFiles(
            tmp_path,
            fingerprint(model),
            max_bytes=10**8,
            max_state_bytes=10**8,
            max_tokens=1024,
            shortest_cut=model.shortest_cut,
        )
        return ModelBench(path, files=files, warm_bytes=10**8)

    bench = restarted()
    for question in ("Who?", "Where?", "Any others?"):
        ask(bench, STORY + question)
    wait_until(lambda: list(tmp_path.glob("*.prefix")))
    bench = restarted()
    (id,) = ask(bench, STORY + "In short?")
    assert bench.channel.texts[id] == alone(reference, STORY + "In short?")
    assert cached(bench, id) > len(bench.tokens(STORY)) - STRIDE
