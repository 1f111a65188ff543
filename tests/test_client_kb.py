"""`client.kb` with a real server that has a tiny embedding model."""

import pytest
import tiny_models
from running import RunningServer

import offgrid

WATER = "Water boils at one hundred degrees at sea level."


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("client-kb")
    tiny_models.embedding_model(folder / "vectors.gguf")
    server = RunningServer(folder / "data", "--models-dir", str(folder))
    yield server
    assert server.stop() == 0


@pytest.fixture
def kb(server):
    kb = offgrid.Client(server.url).kb
    kb.clear()
    return kb


def test_a_file_a_text_and_a_folder_are_added_listed_found_and_removed(kb, tmp_path):
    (tmp_path / "water.md").write_text(f"# Water\n\n{WATER}")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "bread.txt").write_text("Bread is baked from flour.")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "empty.txt").write_text("")
    assert kb.list() == []
    document = kb.add(tmp_path / "water.md", metadata={"kind": "physics"})
    assert (document["name"], document["chunks"], document["metadata"]["kind"]) == ("water.md", 1, "physics")
    assert kb.add("notes.txt", content="The key is under the mat.")["name"] == "notes.txt"
    added = kb.add_directory(tmp_path)
    assert {one.get("name") for one in added if "error" not in one} == {"deep/bread.txt"}
    assert sum("error" in one for one in added) == 2  # empty, and water.md, which is there
    hit = kb.search("water boils", top_k=1)[0]
    assert hit["document_name"] == "water.md" and WATER in hit["content"] and hit["heading"] == "Water"
    assert kb.search("water boils", threshold=1) == []
    assert kb.remove("notes.txt") is True
    with pytest.raises(offgrid.NotFound):
        kb.remove("notes.txt")
    assert kb.clear() == 2
    assert kb.list() == []


def test_a_mistyped_file_is_no_web_address(kb):
    with pytest.raises(FileNotFoundError):
        kb.add("no-such-file.md")
    with pytest.raises(FileNotFoundError):
        kb.add_directory("no-such-folder")
    with pytest.raises(TypeError, match="source or content"):
        kb.add()


def test_web_addresses_are_the_server_s_to_fetch(kb):
    with pytest.raises(offgrid.PermissionDenied, match="fetch_urls"):
        kb.add("https://example.org/page.html")


def test_it_is_switched_off_and_on(kb):
    kb.add("water.txt", content=WATER)
    assert kb.enabled is True
    assert kb.disable() is True
    assert kb.enabled is False
    with pytest.raises(offgrid.ApiStatusError, match="switched off"):
        kb.search("water")
    assert kb.enable() is True
    assert kb.search("water")
    assert kb.status()["stats"]["document_count"] == 1


def test_another_data_store_is_another_collection(server, kb):
    status, _, made = server.request("/lollms/v1/datastores", {"name": "law"})
    assert status == 201
    law = kb.store(made["id"])
    law.add("law.txt", content="Nobody may be judged twice.")
    assert [one["name"] for one in law.list()] == ["law.txt"]
    assert kb.list() == []


def test_names_that_need_care_arrive_as_they_are(kb, tmp_path):
    for name in ('a "quoted".txt', "häß 日本.txt", "semi;colon.txt", "%22.txt"):
        path = tmp_path / name
        path.write_text(f"This is in {name}.")
        assert kb.add(path)["name"] == name.replace("%22", '"')
