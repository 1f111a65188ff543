"""The engine on a real tiny model: whatever was shared, saved, parked or cut, its logits are a fresh context's."""

import random
from dataclasses import replace

import numpy as np
import pytest
import tiny_memories
import tiny_models
from engine_bench import CollectingChannel, EagerSpeculation

from offgrid.types import Sampling
from offgrid.worker import library
from offgrid.worker.engine import Engine
from offgrid.worker.kv_cache import KvCache, State
from offgrid.worker.library import L
from offgrid.worker.model import Model, ModelSettings
from offgrid.worker.pace import Pace
from offgrid.worker.prefix_cache import PrefixCache
from offgrid.worker.scheduler import Chunk, Scheduler
from offgrid.worker.sequence import Sequence
from offgrid.worker.service import ChatService
from offgrid.worker.text import TextAssembler

# Flash attention and a 16-bit cache round by where the cells lie; a wrong cell changes logits by whole units.
TOLERANCE = 0.1


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    library.set_up()
    return tiny_models.chat_model(tmp_path_factory.mktemp("tiny") / "chat.gguf", eos_bias=3.0)


def load(path, n_ctx: int, n_slots: int, **more) -> Model:
    settings = ModelSettings(str(path), "chat", n_ctx, n_slots, n_threads=1, n_batch=64, **more)
    return Model(settings, n_seq_max=n_slots + 1)


def logits_of(model: Model, row: int) -> np.ndarray:
    return np.ctypeslib.as_array(L.llama_get_logits_ith(model.ctx, row), (model.n_vocab,)).copy()


def fresh_logits(model: Model, tokens: list[int]) -> np.ndarray:
    """The logits after `tokens` in a context that holds nothing else  # (n_vocab,)"""
    model.forget(0)
    for start in range(0, len(tokens), model.n_batch):
        part = tokens[: start + model.n_batch]
        sequence = Sequence(0, part, len(part), len(part), None, TextAssembler(), slot=0, n_computed=start)
        rows = model.decode([Chunk(sequence, len(part) - start)])
    return logits_of(model, rows[0])


class CheckedModel(Model):
    """Compares each row that is sampled with a fresh context."""

    reference: Model
    n_checked = 0

    def check(self, sequence: Sequence, row: int) -> None:
        difference = np.abs(logits_of(self, row) - fresh_logits(self.reference, sequence.tokens)).max()
        assert difference < TOLERANCE, f"{difference} after {len(sequence.tokens)} tokens"
        self.n_checked += 1


class KnowingDrafter:
    """Guesses the tokens that a sequence had when it ran without drafts, one in ten of them wrongly."""

    chance = 1.0
    n_matched = 20

    def __init__(self, tokens: list[int], known: list[int], seed: int):
        self._tokens = tokens
        self._known = known
        self._dice = random.Random(seed)

    @property
    def has_guess(self) -> bool:
        return len(self._tokens) < len(self._known)

    def advance(self) -> None:
        pass

    def guess(self, n: int) -> tuple[int, ...]:
        right = self._known[len(self._tokens) : len(self._tokens) + n]
        return tuple(token if self._dice.random() < 0.9 else 32 for token in right)


def run_random(path, seed: int, n_steps: int, known: dict[int, list[int]] | None = None) -> tuple[int, dict]:
    """Random submits and cancels on a small pool; returns how many rows were compared, and the sequences by id.

    With drafts when the tokens of each sequence are `known`.
    """
    draw = random.Random(seed)
    n_slots, n_ctx = 4, 768
    model = CheckedModel(
        ModelSettings(str(path), "chat", n_ctx, n_slots, n_threads=1, n_batch=64), n_seq_max=n_slots + 1
    )
    model.reference = load(path, 512, 1)
    kv = KvCache(model, n_slots, model.n_ctx)
    cache = PrefixCache(kv, hot_cells=150, warm_bytes=1_000_000)
    speculation = EagerSpeculation(max_rows=64, seed=seed) if known else None
    engine = Engine(model, Scheduler(n_slots, kv, cache, Pace(120, model.n_batch), speculation), CollectingChannel())
    check_and_go_on = engine._next_token
    engine._next_token = lambda sequence, row: (model.check(sequence, row), check_and_go_on(sequence, row))
    stems = [[draw.randrange(32, 127) for _ in range(120)] for _ in range(3)]
    sequences = {}
    for id in range(n_steps):
        if draw.random() < 0.12:
            prompt = draw.choice(stems)[: draw.randint(1, 120)] + [draw.randrange(32, 127) for _ in range(8)]
            n_max = draw.randint(1, 80)
            sampler = model.sampler(Sampling(temperature=1.0, seed=id), prompt, n_max)
            sequence = Sequence(id, prompt, len(prompt), len(prompt) + n_max, sampler, TextAssembler())
            sequence.drafter = KnowingDrafter(prompt, known[id], seed) if known else None
            sequences[id] = sequence
            engine.submit(sequence)
        elif draw.random() < 0.03:
            engine.cancel(draw.randrange(id + 1))
        engine.step()
        engine.scheduler.check_integrity()
        if engine.scheduler.is_idle:
            engine.scheduler.rest()
    return model.n_checked, sequences


@pytest.mark.model
def test_shared_and_restored_prefixes_give_the_logits_of_a_fresh_context(path):
    n_checked, _ = run_random(path, seed=1, n_steps=2000)
    assert n_checked > 2000


@pytest.mark.model
@pytest.mark.parametrize("kind", tiny_memories.MODELS)
def test_so_do_those_of_a_memory_that_cannot_be_cut(tmp_path, kind):
    n_checked, _ = run_random(tiny_memories.MODELS[kind](tmp_path / "m.gguf"), seed=2, n_steps=1000)
    assert n_checked > 1000


@pytest.mark.model
def test_every_row_of_a_draft_has_the_logits_of_a_fresh_context(path):
    _, plain = run_random(path, seed=2, n_steps=1000)
    n_checked, drafted = run_random(path, 2, 1000, {id: sequence.tokens for id, sequence in plain.items()})
    assert n_checked > 1000
    assert sum(sequence.n_accepted for sequence in drafted.values()) > 500
    assert any(sequence.n_accepted < sequence.n_drafted for sequence in drafted.values())


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(temperature=0.8, seed=5)])
@pytest.mark.parametrize("penalties", [{}, {"repeat_penalty": 1.2, "frequency_penalty": 0.5}])
def test_a_text_is_the_same_with_drafts_and_without(path, sampling, penalties):
    def run(known: list[int] | None) -> Sequence:
        model = load(path, 512, 1, flash_attention="off")  # which rounds one row and several differently
        kv = KvCache(model, 1, model.n_ctx)
        scheduler = Scheduler(1, kv, PrefixCache(kv, hot_cells=0, warm_bytes=0), Pace(120, model.n_batch))
        scheduler.speculation = EagerSpeculation(max_rows=64) if known else None
        engine = Engine(model, scheduler, CollectingChannel())
        prompt = model.tokenize("again and again and again ", add_special=True, parse_special=True)
        sampler = model.sampler(replace(sampling, ignore_eos=True, **penalties), prompt, 200)
        sequence = Sequence(1, prompt, len(prompt), len(prompt) + 200, sampler, TextAssembler())
        sequence.drafter = KnowingDrafter(prompt, known, seed=1) if known else None
        engine.submit(sequence)
        engine.step()
        while not scheduler.is_idle:
            engine.step()
        return sequence

    plain = run(None)
    drafted = run(plain.tokens)
    assert drafted.tokens == plain.tokens
    assert drafted.n_drafted > drafted.n_accepted > 80


def test_a_model_whose_memory_cannot_be_cut_never_drafts(tmp_path, path):
    for file, can_draft in ((path, True), (tiny_memories.mamba(tmp_path / "recurrent.gguf"), False)):
        settings = ModelSettings(str(file), "chat", 512, 2, n_threads=1, n_batch=64)
        service = ChatService(Model(settings, n_seq_max=3), CollectingChannel())
        request = {"id": 1, "messages": None, "prompt": "a", "max_tokens": 1, "stop": (), "sampling": {}}
        request |= {"client": "", "grammar": "", "logprobs": None, "time_limit_s": None}
        sequence = service.prepare(request)
        assert (service.loop.scheduler.speculation is not None) == can_draft
        assert (sequence.drafter is not None) == can_draft
        sequence.sampler.close()


def test_a_saved_prefix_restored_and_cut_goes_on_as_if_it_had_been_computed(path):
    model, reference = load(path, 512, 2), load(path, 512, 1)
    kv = KvCache(model, 2, model.n_ctx)
    tokens = [random.Random(5).randrange(32, 127) for _ in range(60)]
    sequence = Sequence(0, tokens, len(tokens), 100, None, TextAssembler(), slot=0)
    model.decode([Chunk(sequence, len(tokens))])
    kv.extended(0, len(tokens))
    holder = kv.holder_ids[-1]
    kv.copy(0, holder, len(tokens))
    state = kv.save(holder, len(tokens), 10**9)
    kv.drop(0)
    kv.drop(holder)
    assert state.n_bytes == len(state.data) > 0
    assert kv.restore(1, state, 40)
    rest = Sequence(1, [*tokens[:40], 65, 66], 42, 100, None, TextAssembler(), slot=1, n_computed=40)
    rows = model.decode([Chunk(rest, 2)])
    assert np.abs(logits_of(model, rows[0]) - fresh_logits(reference, rest.tokens)).max() < TOLERANCE


def test_a_state_of_another_kind_of_cache_is_refused_and_leaves_nothing_behind(path):
    model = load(path, 512, 2)
    kv = KvCache(model, 2, model.n_ctx)
    assert not kv.restore(1, State(0, 10, bytes(500), 500), 10)
    assert kv.n_used == 0


def test_greedy_text_of_eight_in_one_batch_is_that_of_each_alone(path):
    prompts = [f"prompt {i} " * (i + 1) for i in range(8)]

    def texts(groups: list[list[str]]) -> list[str]:
        found = []
        for group in groups:
            model = load(path, 2048, 8)
            kv = KvCache(model, 8, model.n_ctx)
            channel = CollectingChannel()
            cache = PrefixCache(kv, hot_cells=0, warm_bytes=0)
            engine = Engine(model, Scheduler(8, kv, cache, Pace(120, model.n_batch)), channel)
            for id, prompt in enumerate(group):
                tokens = model.tokenize(prompt, add_special=True, parse_special=True)
                sampler = model.sampler(Sampling(temperature=0), tokens, 40)
                engine.submit(Sequence(id, tokens, len(tokens), len(tokens) + 40, sampler, TextAssembler()))
            while len(channel.ends) < len(group):
                engine.step()
            found += [channel.texts.get(id, "") for id in range(len(group))]
        return found

    assert texts([prompts]) == texts([[prompt] for prompt in prompts])


def test_sampled_tokens_follow_the_probabilities_of_the_model(path):
    model = load(path, 512, 1)
    tokens = model.tokenize("The ", add_special=True, parse_special=True)
    sequence = Sequence(0, tokens, len(tokens), 100, None, TextAssembler(), slot=0)
    (row,) = model.decode([Chunk(sequence, len(tokens))])
    logits = logits_of(model, row)
    expected = np.exp((logits - logits.max()) / 0.8)
    expected /= expected.sum()
    sampling = Sampling(temperature=0.8, top_p=1, top_k=0, min_p=0, seed=7)
    sampler = model.sampler(sampling, tokens, 10)
    counts = np.bincount([model.sample(sampler, row) for _ in range(4000)], minlength=model.n_vocab)
    sampler.close()
    assert np.abs(counts / 4000 - expected).max() < 0.04


@pytest.mark.parametrize(
    ("sampling", "n_kinds"),
    [
        (Sampling(temperature=0), 1),
        (Sampling(temperature=1, top_k=1), 1),
        (Sampling(temperature=1, top_p=0), 1),
        (Sampling(temperature=1, min_p=1), 1),
        (Sampling(temperature=1, top_k=3, top_p=1, min_p=0), 3),
    ],
)
def test_each_sampling_field_narrows_the_choice(path, sampling, n_kinds):
    model = load(path, 512, 1)
    tokens = model.tokenize("The ", add_special=True, parse_special=True)
    sequence = Sequence(0, tokens, len(tokens), 100, None, TextAssembler(), slot=0)
    (row,) = model.decode([Chunk(sequence, len(tokens))])
    sampler = model.sampler(sampling, tokens, 10)
    drawn = {model.sample(sampler, row) for _ in range(300)}
    sampler.close()
    assert len(drawn) == n_kinds
    assert int(logits_of(model, row).argmax()) in drawn


def drawn_text(model: Model, sampling: Sampling, n: int) -> list[int]:
    """`n` tokens generated alone  # token ids"""
    tokens = model.tokenize("again again again", add_special=True, parse_special=True)
    sampler = model.sampler(sampling, tokens, n)
    sequence = Sequence(0, list(tokens), len(tokens), len(tokens) + n, sampler, TextAssembler(), slot=0)
    model.forget(0)
    for _ in range(n):
        (row,) = model.decode([Chunk(sequence, sequence.n_pending)])
        sequence.n_computed = len(sequence.tokens)
        sequence.tokens.append(model.sample(sampler, row))
    sampler.close()
    return sequence.tokens[len(tokens) :]


def test_penalties_make_a_greedy_text_repeat_itself_less(path):
    model = load(path, 512, 1)
    plain = len(set(drawn_text(model, Sampling(temperature=0, ignore_eos=True), 60)))
    for field in ({"repeat_penalty": 1.5}, {"presence_penalty": 2.0}, {"frequency_penalty": 2.0}):
        varied = drawn_text(model, Sampling(temperature=0, ignore_eos=True, **field), 60)
        assert len(set(varied)) > plain, field


def test_ignore_eos_never_ends_and_a_seed_repeats_its_text(path):
    model = load(path, 512, 1)
    text = drawn_text(model, Sampling(temperature=1, seed=3, ignore_eos=True), 200)
    assert not set(text) & set(model.eog_tokens)
    assert drawn_text(model, Sampling(temperature=1, seed=3, ignore_eos=True), 200) == text
    assert drawn_text(model, Sampling(temperature=1, seed=4, ignore_eos=True), 200) != text
