"""The tiny models do what they promise in the real llama.cpp, which agrees with our reader about them."""

import ctypes
from pathlib import Path

import llama_cpp.llama_cpp as L
import numpy as np
import pytest
import tiny_models

from offgrid.engine import gguf

QUESTION = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module", autouse=True)
def quiet_library():
    silent = L.llama_log_callback(lambda level, text, data: None)
    L.llama_log_set(silent, None)
    L.llama_backend_init()
    yield
    L.llama_log_set(ctypes.cast(None, L.llama_log_callback), None)  # `silent` is about to be freed


class Model:
    """One file in llama.cpp, with a context of 512 tokens."""

    def __init__(self, path: Path, *, embeddings: bool = False):
        self.model = L.llama_model_load_from_file(str(path).encode(), L.llama_model_default_params())
        assert self.model, f"llama.cpp refuses {path.name}"
        self.vocab = L.llama_model_get_vocab(self.model)
        params = L.llama_context_default_params()
        params.n_ctx, params.n_threads, params.n_threads_batch, params.embeddings = 512, 1, 1, embeddings
        self.ctx = L.llama_init_from_model(self.model, params)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        L.llama_free(self.ctx)
        L.llama_model_free(self.model)

    def tokens(self, text: str) -> list[int]:
        out, raw = (L.llama_token * 512)(), text.encode()
        return list(out[: L.llama_tokenize(self.vocab, raw, len(raw), out, 512, True, True)])

    def decode(self, tokens: list[int]) -> None:
        array = (L.llama_token * len(tokens))(*tokens)  # a batch points into it without keeping it
        assert L.llama_decode(self.ctx, L.llama_batch_get_one(array, len(tokens))) == 0

    def greedy(self, prompt: str, n_max: int) -> tuple[list[bytes], bool]:
        """The pieces, and whether the model ended by itself."""
        pieces, tokens = [], self.tokens(prompt)
        while len(pieces) < n_max:
            self.decode(tokens)
            logits = np.ctypeslib.as_array(L.llama_get_logits_ith(self.ctx, -1), (L.llama_vocab_n_tokens(self.vocab),))
            token = int(logits.argmax())
            if L.llama_vocab_is_eog(self.vocab, token):
                return pieces, True
            piece = ctypes.create_string_buffer(256)
            n = L.llama_token_to_piece(self.vocab, token, piece, 256, 0, True)
            pieces.append(piece.raw[:n])
            tokens = [token]
        return pieces, False

    def embedding(self, text: str) -> np.ndarray:
        self.decode(self.tokens(text))
        n = L.llama_model_n_embd(self.model)
        return np.ctypeslib.as_array(L.llama_get_embeddings_seq(self.ctx, 0), (n,)).copy()


@pytest.mark.parametrize("make", [tiny_models.chat_model, tiny_models.embedding_model, tiny_models.reranker_model])
def test_llama_cpp_and_our_reader_agree(tmp_path, make):
    info = gguf.read(make(tmp_path / "m.gguf"))
    with Model(tmp_path / "m.gguf", embeddings=info.kind != "chat") as model:
        assert L.llama_model_n_ctx_train(model.model) == info.n_ctx_train
        assert L.llama_model_n_embd(model.model) == info.n_embd
        assert L.llama_model_n_layer(model.model) == info.n_layer
        assert L.llama_vocab_n_tokens(model.vocab) == info.n_vocab
        assert L.llama_model_n_params(model.model) == info.n_params
        assert L.llama_model_size(model.model) == info.weight_bytes
        assert bool(L.llama_model_chat_template(model.model, None)) is info.has_chat_template
        assert L.llama_pooling_type(model.ctx) == (info.pooling_type or 0)


def test_a_scripted_model_says_its_pieces_and_ends(tmp_path):
    pieces = ["<think>", "hm", "</think>", "Hel", "lo, ", b"\xe2\x82", b"\xac", " wörld\n"]
    with Model(tiny_models.scripted_model(tmp_path / "m.gguf", pieces)) as model:
        said = [piece if isinstance(piece, bytes) else piece.encode() for piece in pieces]
        assert model.greedy(QUESTION, 50) == (said, True)
        L.llama_memory_clear(L.llama_get_memory(model.ctx), True)
        assert model.greedy("no chat at all", 50) == (said, True)


def test_a_script_follows_from_the_last_piece_whatever_it_is(tmp_path):
    pieces = [f"piece {i} " for i in range(60)]
    with Model(tiny_models.scripted_model(tmp_path / "m.gguf", pieces)) as model:
        assert model.greedy(QUESTION, 100) == ([piece.encode() for piece in pieces], True)


def test_a_script_that_could_not_be_followed_is_refused(tmp_path):
    for pieces in (["a", "b", "a"], ["a", ""], ["a", "\n"]):
        with pytest.raises(ValueError, match="unique"):
            tiny_models.scripted_model(tmp_path / "m.gguf", pieces)


def test_a_chat_model_never_ends_by_chance_and_listens_to_its_prompt(tmp_path):
    answers = set()
    for prompt in (QUESTION, QUESTION.replace("hi", "ho"), "hello"):
        with Model(tiny_models.chat_model(tmp_path / "m.gguf")) as model:
            pieces, ended = model.greedy(prompt, 100)
        assert not ended
        answers.add(b"".join(pieces).decode("ascii"))
    assert len(answers) == 3


def test_every_text_survives_the_tiny_vocabulary(tmp_path):
    text = "Grüße, 世界! \x00 \u2581 🎉 the hello world"
    with Model(tiny_models.chat_model(tmp_path / "m.gguf")) as model:
        tokens = model.tokens(text)
        out = ctypes.create_string_buffer(512)
        n = L.llama_detokenize(model.vocab, (L.llama_token * len(tokens))(*tokens), len(tokens), out, 512, False, True)
        assert out.raw[:n].decode() == text
        assert len(tokens) < len(text.encode())  # merges are used


def test_texts_that_share_words_have_near_vectors(tmp_path):
    with Model(tiny_models.embedding_model(tmp_path / "m.gguf"), embeddings=True) as model:
        query, near, far = (
            vector / np.linalg.norm(vector)
            for vector in map(model.embedding, ["cat mat", "the cat sat on the mat", "stocks fell sharply"])
        )
    assert query @ near > 0.5 > query @ far


def test_a_reranker_gives_one_score_that_depends_on_the_document(tmp_path):
    with Model(tiny_models.reranker_model(tmp_path / "m.gguf"), embeddings=True) as model:
        assert L.llama_model_n_cls_out(model.model) == 1
        assert model.embedding("cat cat")[0] != model.embedding("cat dog")[0]


def test_an_adapter_fits_the_chat_model(tmp_path):
    adapter_path = tiny_models.lora(tmp_path / "a.gguf")
    with Model(tiny_models.chat_model(tmp_path / "m.gguf")) as model:
        assert L.llama_adapter_lora_init(model.model, str(adapter_path).encode())


def test_the_same_model_has_the_same_bytes(tmp_path):
    for make in (tiny_models.chat_model, tiny_models.embedding_model, tiny_models.projector):
        assert make(tmp_path / "a.gguf").read_bytes() == make(tmp_path / "a.gguf").read_bytes()
    seeded = tiny_models.chat_model(tmp_path / "a.gguf", seed=1).read_bytes()
    assert tiny_models.chat_model(tmp_path / "a.gguf", seed=2).read_bytes() != seeded
