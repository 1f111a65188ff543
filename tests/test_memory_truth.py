"""What a model is said to need is what its worker really takes, within a tenth, over models, contexts and KV types."""

import threading
from pathlib import Path

import pytest
import tiny_models
from running import CHAT, EMBEDDING, REPO

from offgrid.engine import measure, memory
from offgrid.engine.catalog import Catalog
from offgrid.engine.load_plan import context_of, plan_load
from offgrid.engine.pool import Pool
from offgrid.procs.budget import Budget
from offgrid.sections import EngineSettings, ModelSettings
from offgrid.types import EmbedRequest, GenerateRequest, Sampling

# So long that some texts fill a call to its last token: the tiny model has a token for two letters.
CALL_CHARACTERS = {EMBEDDING: 560, "embedding": 400}
PROMPT = "The quick brown fox jumps over the lazy dog. " * 40


def resident(pid: int) -> int:
    """Bytes of a process in RAM, its file's pages included."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss:"))


def estimated_and_real(folder: Path, id: str, **own) -> tuple[memory.Estimate, int]:
    """Of a worker that has answered one request."""
    model = Catalog([folder]).resolve(id)
    settings = EngineSettings(cache_ram_mb=0, models={id: ModelSettings(**own)})
    budget = Budget(available=lambda: 1 << 40)
    pool = Pool(settings, budget, lambda model_id, line: None)
    has_ended = threading.Event()
    ends = []

    def sink(event) -> None:
        if type(event).__name__ not in ("Begun", "Delta"):
            ends.append(event)
            has_ended.set()

    request = (
        EmbedRequest(id, [PROMPT[: CALL_CHARACTERS[id]]] * 20)
        if model.kind == "embedding"
        else GenerateRequest(id, prompt=PROMPT[: own["ctx_size"] // 2], max_tokens=4, sampling=Sampling(temperature=0))
    )
    try:
        pool.submit(model, request, sink)
        assert has_ended.wait(100)
        assert type(ends[0]).__name__ in ("Finish", "Vectors"), ends
        [worker] = pool.workers
        return plan_load(model, settings, 1 << 40, 1).estimate, resident(worker.pid)
    finally:
        pool.stop(0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_models.chat_model(folder / "chat.gguf", n_ctx_train=16_384)
    tiny_models.embedding_model(folder / "embedding.gguf")
    return folder


@pytest.mark.parametrize(
    ("id", "own"),
    [
        ("chat", {"ctx_size": 512}),
        ("chat", {"ctx_size": 4096, "kv_cache_type": "q8_0"}),
        ("chat", {"ctx_size": 2048, "kv_cache_type": "q4_0"}),
        ("embedding", {}),
    ],
)
def test_a_tiny_model_takes_what_was_estimated(tiny, id, own):
    estimate, real = estimated_and_real(tiny, id, **own)
    assert estimate.total == pytest.approx(real, rel=0.1)


@pytest.mark.model
@pytest.mark.parametrize(
    ("id", "own"),
    [
        (CHAT, {"ctx_size": 1024}),
        (CHAT, {"ctx_size": 4096}),
        (CHAT, {"ctx_size": 16_384}),
        (CHAT, {"ctx_size": 4096, "kv_cache_type": "q8_0"}),
        (CHAT, {"ctx_size": 8192, "kv_cache_type": "q4_0"}),
        (CHAT, {"ctx_size": 4096, "batch_size": 128}),
        (EMBEDDING, {}),
    ],
)
def test_a_starter_model_takes_what_was_estimated_even_without_the_worker_itself(id, own):
    estimate, real = estimated_and_real(REPO / "models", id, **own)
    assert estimate.total == pytest.approx(real, rel=0.1)
    base = memory.WORKER_BASE_BYTES
    assert estimate.total - base == pytest.approx(real - base, rel=0.1)


@pytest.mark.model
def test_the_dry_run_agrees_with_the_formula_for_an_ordinary_model():
    model = Catalog([REPO / "models"]).resolve(CHAT)
    settings = EngineSettings()
    measured = measure.dry_run(model, **context_of(model, settings))
    for n_ctx in (512, 1024, 4096, 16_384):
        for kv_type in ("f16", "q8_0", "q4_0"):
            formula = memory.estimate_bytes(model.info, n_ctx, kv_type, settings.parallel + 1, min(512, n_ctx))
            exact = measured(n_ctx, kv_type)
            assert exact.kv == pytest.approx(formula.kv, rel=0.01)
            assert exact.total == pytest.approx(formula.total, rel=0.03)


def test_a_model_that_kills_the_dry_run_is_left_to_the_formula(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    tiny_models.chat_model(folder / "chat.gguf")
    model = Catalog([folder]).resolve("chat")
    broken = (folder / "chat.gguf").read_bytes().replace(b"</tool_call>", b"<|im_start|>", 1)
    (folder / "chat.gguf").write_bytes(broken)
    assert measure.dry_run(model, n_ctx=512, n_seq_max=2, n_batch=64, flash_attention="auto") is None
