"""A prompt that was known before a restart is not computed again: the real server, the starter model, a real disk."""

import os
import signal

import pytest
from running import CHAT, REPO, RunningServer, wait_until

pytestmark = pytest.mark.model

DOCUMENT = " ".join(f"Rule {i}: the boat of row {i} leaves when the bell has rung {i % 7} times." for i in range(36))


def start(data_dir, *flags: str) -> RunningServer:
    return RunningServer(data_dir, "--models-dir", str(REPO / "models"), "--threads", "2", *flags)


def ask(server: RunningServer, question: str) -> tuple[str, int]:
    """The greedy answer to a question about the document, and how much of the prompt came from the cache."""
    answer = server.chat(f"{DOCUMENT}\n{question}", model=CHAT)
    return answer["choices"][0]["message"]["content"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """(data folder of a server that was asked about the document and then killed, the answers it gave)."""
    data_dir = tmp_path_factory.mktemp("restart")
    server = start(data_dir)
    try:
        answers = {question: ask(server, question)[0] for question in ("Which row is first?", "How many rules?")}
        wait_until(lambda: list((data_dir / "cache").glob("*.prefix")))
    finally:
        server.stop(signal.SIGKILL)
    return data_dir, answers


def test_what_two_prompts_began_with_is_known_after_a_restart(known, tmp_path):
    data_dir, answers = known
    server, fresh = start(data_dir), start(tmp_path)
    try:
        for question in ("Which bell?", *answers):
            text, n_cached = ask(server, question)
            computed, n_computed = ask(fresh, question)
            assert n_cached >= 600
            assert n_computed == 0 or question != "Which bell?"
            assert text == computed
    finally:
        server.stop()
        fresh.stop()


def test_prompts_on_disk_are_for_the_servers_own_user(known):
    data_dir, _ = known
    [path] = (data_dir / "cache").iterdir()
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(path.parent).st_mode & 0o777 == 0o700


def test_with_other_settings_or_none_the_file_is_not_used(known):
    data_dir, _ = known
    for flags in (("--kv-cache-type", "q8_0"), ("--flash-attention", "off"), ("--cache-disk-mb", "0")):
        server = start(data_dir, *flags)
        try:
            assert ask(server, "Which bell?")[1] == 0
        finally:
            server.stop()
    assert list((data_dir / "cache").glob("*.prefix"))
