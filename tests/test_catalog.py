"""Which models there are, and what a client's name for one means."""

import os
import shutil
from pathlib import Path

import broken_files
import numpy as np
import pytest
import tiny_models

from offgrid.engine import catalog
from offgrid.engine.catalog import Catalog
from offgrid.errors import ModelNotFound


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("samples")
    return {
        "chat": tiny_models.chat_model(folder / "chat.gguf"),
        "embedding": tiny_models.embedding_model(folder / "embedding.gguf"),
    }


@pytest.fixture
def put(tmp_path, samples):
    """put("sub/name.gguf") copies a chat model there, below tmp_path."""

    def put(name: str, kind: str = "chat") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(samples[kind], path))

    return put


def ids(models: Catalog) -> list[str]:
    return [model.id for model in models.scan()]


# --- finding ---


def test_models_are_listed_by_their_path_without_the_suffix_and_ordered_without_case(tmp_path, put):
    for name in ("b.gguf", "A.gguf", "sub/deep/c.GGUF", "notes.txt", ".hidden.gguf", ".cache/d.gguf", "e.gguf.part"):
        put(name)
    assert ids(Catalog([tmp_path])) == ["A", "b", "sub/deep/c"]


def test_a_model_says_where_it_is_how_large_and_how_old(tmp_path, put):
    path = put("m.gguf")
    os.utime(path, (1_700_000_000.9, 1_700_000_000.9))
    (model,) = Catalog([tmp_path]).scan()
    assert (model.path, model.size_bytes, model.created) == (path, path.stat().st_size, 1_700_000_000)
    assert (model.kind, model.broken, model.info.n_embd) == ("chat", None, 64)


def test_a_missing_folder_is_an_empty_one_and_its_models_appear_without_a_restart(tmp_path, put):
    models = Catalog([tmp_path / "later"])
    assert models.scan() == []
    put("later/m.gguf")
    assert ids(models) == ["m"]
    (tmp_path / "later" / "m.gguf").unlink()
    assert models.scan() == []


def test_every_broken_file_is_listed_with_its_reason(tmp_path, samples):
    reasons = broken_files.write_broken_files(tmp_path, samples["chat"])
    listed = {f"{model.id}.gguf": model for model in Catalog([tmp_path]).scan()}
    assert listed.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in listed[name].broken
        assert (listed[name].info, listed[name].kind) == (None, "broken")


def test_a_model_still_being_copied_is_broken_and_becomes_good_by_itself(tmp_path, samples, monkeypatch):
    monkeypatch.setattr(catalog, "SETTLED_S", -1)
    whole, path, models = samples["chat"].read_bytes(), tmp_path / "m.gguf", Catalog([tmp_path])
    path.write_bytes(whole[: len(whole) // 2])
    assert "is truncated" in models.scan()[0].broken
    path.write_bytes(whole)
    assert models.scan()[0].kind == "chat"


def test_an_unchanged_file_is_not_read_again(tmp_path, put, monkeypatch):
    monkeypatch.setattr(catalog, "SETTLED_S", -1)
    put("m.gguf")
    models = Catalog([tmp_path])
    first = models.scan()[0].info
    assert models.scan()[0].info is first
    put("m.gguf")
    assert models.scan()[0].info is not first


def test_a_file_that_changed_a_moment_ago_is_not_taken_for_settled(tmp_path, put):
    path = put("m.gguf")
    models = Catalog([tmp_path])
    assert models.scan()[0].info is not models.scan()[0].info
    path.write_bytes(bytes(path.stat().st_size))
    assert "zeros" in models.scan()[0].broken


def test_a_link_to_a_folder_is_followed_and_a_circle_ends(tmp_path, put):
    put("elsewhere/m.gguf")
    inside = tmp_path / "models"
    inside.mkdir()
    (inside / "usb").symlink_to(tmp_path / "elsewhere")
    (inside / "again").symlink_to(inside)
    (tmp_path / "elsewhere" / "back").symlink_to(inside)
    assert ids(Catalog([inside])) == ["usb/m"]


def test_a_folder_named_twice_is_listed_once(tmp_path, put):
    put("m.gguf")
    put("sub/n.gguf")
    assert ids(Catalog([tmp_path, tmp_path])) == ["m", "sub/n"]
    assert ids(Catalog([tmp_path / "sub", tmp_path])) == ["m", "n"]


def test_of_two_models_with_one_id_the_first_folder_wins_and_the_other_says_so(tmp_path, put):
    first, second = put("a/m.gguf", "embedding"), put("b/m.gguf")
    models = Catalog([tmp_path / "a", tmp_path / "b"])
    used, hidden = models.scan()
    assert (used.path, used.kind, used.broken) == (first, "embedding", None)
    assert (hidden.path, hidden.broken) == (second, f"is hidden by {first}: rename one of them")
    assert models.resolve("m") == used


def test_strange_file_names_are_listed_safely(tmp_path, put):
    put("tab\there.gguf")
    shutil.copy(put("plain.gguf"), os.fsencode(tmp_path) + b"/latin-\xe9.gguf")
    models = Catalog([tmp_path])
    assert ids(models) == ["latin-\\udce9", "plain", "tab\\there"]
    assert models.resolve("latin-\\udce9").info.n_embd == 64


# --- split models ---


def split(folder: Path, name: str, count: int) -> list[Path]:
    paths = [folder / f"{name}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
    for index, path in enumerate(paths):
        model = {"tokenizer.ggml.model": "gpt2", "llama.context_length": 64, "llama.embedding_length": 8}
        model |= {"llama.block_count": 1, "llama.attention.head_count": 1}
        keys = {"split.no": index, "split.count": count} | (model if index == 0 else {})
        tensors = {f"blk.{index}.weight": np.zeros((8, 8), np.float32)}
        tiny_models.write_gguf(path, "llama", keys, tensors)
    return paths


def test_a_split_model_is_one_model(tmp_path):
    paths = split(tmp_path, "big", 3)
    (model,) = Catalog([tmp_path]).scan()
    assert (model.id, model.path, model.kind, model.broken) == ("big", paths[0], "chat", None)
    assert model.size_bytes == model.info.size_bytes == sum(path.stat().st_size for path in paths)
    assert (model.info.n_params, model.info.weight_bytes) == (3 * 64, 3 * 256)


def test_a_split_model_without_a_part_is_broken(tmp_path):
    split(tmp_path, "big", 3)[1].unlink()
    (model,) = Catalog([tmp_path]).scan()
    assert (model.id, model.broken) == ("big", "is incomplete: part 2 of 3 is missing")


def test_a_split_model_with_a_cut_part_says_which(tmp_path):
    last = split(tmp_path, "big", 2)[1]
    last.write_bytes(last.read_bytes()[:-1])
    (model,) = Catalog([tmp_path]).scan()
    assert model.broken.startswith("is incomplete: part 2 of 2 is truncated")


def test_a_part_under_another_name_is_broken(tmp_path):
    split(tmp_path, "big", 2)[1].rename(tmp_path / "other.gguf")
    by_id = {model.id: model for model in Catalog([tmp_path]).scan()}
    assert "part 2 of 2 is missing" in by_id["big"].broken
    assert "split otherwise than its name says" in by_id["other"].broken


# --- names ---


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("SmolLM2-Instruct.Q4_1", "SmolLM2-Instruct.Q4_1"),
        ("smollm2-instruct.q4_1", "SmolLM2-Instruct.Q4_1"),
        ("local/SmolLM2-Instruct.Q4_1", "SmolLM2-Instruct.Q4_1"),
        ("SmolLM2-Instruct.Q4_1.gguf", "SmolLM2-Instruct.Q4_1"),
        ("SmolLM2-Instruct", "SmolLM2-Instruct.Q4_1"),
        ("local/smollm2-instruct", "SmolLM2-Instruct.Q4_1"),
        ("qwen", "qwen-Q4_K_M"),
        ("gemma", "gemma-UD-IQ2_XXS"),
        ("gpt-4o", "SmolLM2-Instruct.Q4_1"),
        ("GPT-4o", "SmolLM2-Instruct.Q4_1"),
        ("local/gpt-4o", "SmolLM2-Instruct.Q4_1"),
        ("sub/phi", "sub/phi"),
        ("phi", "phi-f16"),
    ],
)
def test_a_name_finds_its_model(tmp_path, put, name, found):
    models = ("SmolLM2-Instruct.Q4_1", "qwen-Q4_K_M", "qwen-big-Q4_K_M", "gemma-UD-IQ2_XXS", "sub/phi", "phi-f16")
    for model in models:
        put(f"{model}.gguf")
    assert Catalog([tmp_path], {"gpt-4o": "SmolLM2-Instruct"}).resolve(name).id == found


def test_an_exact_id_beats_every_other_rule(tmp_path, put):
    for name in ("a.gguf", "A.gguf", "local/a.gguf", "a.gguf.gguf", "a-Q8_0.gguf"):
        put(name)
    models = Catalog([tmp_path], {"a": "a-Q8_0", "A": "a-Q8_0"})
    for name in ("a", "A", "local/a", "a.gguf", "a-Q8_0"):
        assert models.resolve(name).id == name


def test_an_ambiguous_name_names_the_candidates(tmp_path, put):
    put("m-Q4_0.gguf")
    put("m.Q8_0.gguf")
    with pytest.raises(ModelNotFound, match=r"'m' could mean 'm-Q4_0', 'm\.Q8_0'"):
        Catalog([tmp_path]).resolve("m")


def test_a_working_quantisation_is_preferred_to_a_broken_one(tmp_path, put):
    put("m-Q4_0.gguf")
    (tmp_path / "m-Q8_0.gguf").write_bytes(b"")
    assert Catalog([tmp_path]).resolve("m").id == "m-Q4_0"


def test_an_unknown_name_names_the_nearest(tmp_path, put):
    put("mistral-7b.gguf")
    put("qwen.gguf")
    with pytest.raises(ModelNotFound, match=r"'mistal-7b'.* There is 'mistral-7b'") as e:
        Catalog([tmp_path]).resolve("mistal-7b")
    assert (e.value.status, e.value.code) == (404, "model_not_found")
    assert "qwen" not in e.value.message


def test_a_broken_model_says_why_when_it_is_asked_for(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"")
    with pytest.raises(ModelNotFound, match=r"'m' cannot be used: m\.gguf is empty") as e:
        Catalog([tmp_path]).resolve("m")
    assert e.value.code == "model_broken"


def test_without_a_model_the_error_says_how_to_get_one(tmp_path):
    models = Catalog([tmp_path])
    for ask in (lambda: models.resolve("m"), lambda: models.default("chat")):
        with pytest.raises(ModelNotFound, match=r"models starter`, or put a \.gguf file there") as e:
            ask()
        assert str(tmp_path) in e.value.message


def test_an_alias_of_nothing_says_so(tmp_path, put):
    put("m.gguf")
    with pytest.raises(ModelNotFound, match="'gpt' is an alias of 'gone', which is not there"):
        Catalog([tmp_path], {"gpt": "gone"}).resolve("gpt")


def test_the_default_is_the_preferred_model_or_else_the_first_of_its_kind(tmp_path, put):
    put("a.gguf", "embedding")
    put("b.gguf")
    put("c.gguf")
    models = Catalog([tmp_path])
    assert models.default("chat").id == "b"
    assert models.default("embedding").id == "a"
    assert models.default("chat", "C").id == "c"
    with pytest.raises(ModelNotFound, match="'a' is for embedding; one for chat is needed"):
        models.default("chat", "a")
    with pytest.raises(ModelNotFound, match="no model for reranker"):
        models.default("reranker")
