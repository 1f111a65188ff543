"""Nothing needs to be set up first: no settings, no models, no data folder; and every wrong start is one sentence."""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models
from running import REPO, RunningServer, wait_until

from offgrid.banner import show_banner
from offgrid.engine.catalog import Catalog
from offgrid.sections import AccessSettings, Config, PathSettings, ServerSettings


def copy_of_the_program(folder: Path) -> Path:
    """The program alone, as somebody would carry it: no offgrid.yaml, no models. Returns its offgrid.py."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPO / "offgrid", folder / "offgrid", ignore=ignored)
    shutil.copytree(REPO / "scripts", folder / "scripts")
    return Path(shutil.copy(REPO / "offgrid.py", folder))


def start(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    """Run Python with these words to its end: for starts that must fail."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OFFGRID_")}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env={**clean, **env}, capture_output=True, text=True, timeout=30
    )


def check_one_sentence(done: subprocess.CompletedProcess, *expected: str) -> None:
    """Status 2, nothing on stdout, and one line for a person on stderr."""
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("offgrid: ")
    for text in expected:
        assert text in line


# --- a start with nothing ---


def test_an_empty_folder_is_enough_and_the_banner_says_what_to_do_next(tmp_path):
    server = RunningServer(tmp_path / "data", program=(str(copy_of_the_program(tmp_path)),), cwd=tmp_path)
    try:
        assert server.request("/health")[2]["status"] == "healthy"
        status, headers, answer = server.request("/ready")
        assert (status, answer["status"]) == (503, "not_ready")
        assert headers["Retry-After"]
        assert server.request("/livez")[0] == 200
        assert server.request("/v1/models")[2] == {"object": "list", "data": []}
        status, _, answer = server.request("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]})
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
        assert "models starter" in answer["error"]["message"]
    finally:
        assert server.stop() == 0
    banner = "".join(server.output)
    assert f"no chat model in {tmp_path / 'models'}" in banner
    assert "python offgrid.py models starter" in banner
    assert "Traceback" not in banner


def test_what_a_start_writes_stays_in_the_data_folder(tmp_path):
    program = copy_of_the_program(tmp_path / "program")
    RunningServer(tmp_path / "data", program=(str(program), "serve"), cwd=tmp_path / "program").stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "program"]
    # Python keeps its own cache beside the code.
    left = {path.name for path in (tmp_path / "program").iterdir()} - {"__pycache__"}
    assert left == {"offgrid", "offgrid.py", "scripts"}
    assert {path.name for path in (tmp_path / "data").iterdir()} == {
        *("audit.head", "audit.key", "logs", "offgrid.db", "offgrid.lock")
    }


@pytest.mark.parametrize("words", [(), ("serve",)], ids=["without a word", "serve"])
def test_the_word_serve_may_be_left_out(tmp_path, words):
    server = RunningServer(tmp_path / "data", "--models-dir", str(tmp_path), program=(str(REPO / "offgrid.py"), *words))
    assert server.request("/health")[0] == 200
    assert server.stop() == 0


def test_the_banner_names_the_models_and_its_example_works_where_the_server_listens(start_server, tmp_path):
    tiny_models.chat_model(tmp_path / "tiny.gguf", eos_bias=4)
    server = start_server("--models-dir", str(tmp_path), "--host", "127.0.0.2")
    banner = wait_until(lambda: "curl" in "".join(server.output) and "".join(server.output))
    assert "chat       tiny" in banner
    assert "Other machines" not in banner
    [example] = [line.strip() for line in banner.splitlines() if line.strip().startswith("curl ")]
    done = subprocess.run(["sh", "-c", example], capture_output=True, text=True, timeout=30)
    assert json.loads(done.stdout)["choices"][0]["message"]["role"] == "assistant", done.stderr


def banner(folder: Path, access: AccessSettings | None = None, first_password: str = "", **server) -> str:
    """What would be shown for these settings, without listening anywhere."""
    config = Config(
        server=ServerSettings(**server), access=access or AccessSettings(), paths=PathSettings(models_dir=folder)
    )
    listening = SimpleNamespace(ports=[8080, 11434])
    app = SimpleNamespace(config=config, server=listening, catalog=Catalog([folder]), first_password=first_password)
    out = io.StringIO()
    show_banner(app, out)
    return out.getvalue()


def test_a_server_for_the_network_says_who_may_come_in(tmp_path):
    for host in ("0.0.0.0", "::", "192.168.1.5"):
        assert "without a key" in banner(tmp_path, host=host)
        assert "with the API key" in banner(tmp_path, host=host, api_key="secret")
        assert "in the role viewer" in banner(tmp_path, AccessSettings(lan_role="viewer"), host=host)
    assert "Other machines" not in banner(tmp_path, host="::1")


def test_a_server_with_accounts_says_so_and_shows_the_first_password(tmp_path):
    tiny_models.chat_model(tmp_path / "tiny.gguf")
    shown = banner(tmp_path, AccessSettings(multi_user=True), first_password="abcd-efgh-jkmn")
    assert "may chat as a guest" in shown and "user admin, password abcd-efgh-jkmn" in shown
    assert "YOUR_KEY" not in shown
    shown = banner(tmp_path, AccessSettings(multi_user=True, guest_access=False))
    assert "nobody else is let in" in shown and "YOUR_KEY" in shown and "password" not in shown


def test_the_banner_shows_addresses_that_can_be_called_and_no_key(tmp_path):
    tiny_models.chat_model(tmp_path / "tiny.gguf")
    assert "http://localhost:8080" in banner(tmp_path, host="0.0.0.0")
    assert "curl http://192.168.1.5:8080/v1/chat/completions" in banner(tmp_path, host="192.168.1.5")
    assert "http://[::1]:8080" in banner(tmp_path, host="::1")
    assert "http://192.168.1.5:11434" in banner(tmp_path, host="192.168.1.5")
    assert "https://localhost:8080" in banner(tmp_path, host="localhost", tls_cert=Path("c"), tls_key=Path("k"))
    with_key = banner(tmp_path, api_key="secret")
    assert "YOUR_KEY" in with_key
    assert "secret" not in with_key


# --- starts that must fail ---


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--prot", "1"), ("--prot", "Did you mean --port?")),
        (("serve", "--parallel", "many"), ("--parallel", "'many'", "a whole number from 1 to")),
        (("serve", "--config", "nothing.yaml"), ("nothing.yaml", "no such file")),
        (("server",), ("'server'", "serve, models, users, audit, mcp, backup, restore")),
        (("--tls-cert", "a.pem"), ("tls_key",)),
        (("mcp", "--port", "1"), ("--port", "--host")),
        (("mcp", "--host", "ftp://box"), ("ftp://box",)),
    ],
)
def test_a_wrong_word_on_the_command_line_is_one_sentence(tmp_path, words, expected):
    check_one_sentence(start(str(REPO / "offgrid.py"), *words, cwd=tmp_path), *expected)


def test_an_unknown_variable_is_one_sentence(tmp_path):
    done = start(str(REPO / "offgrid.py"), cwd=tmp_path, OFFGRID_PARALEL="4")
    check_one_sentence(done, "OFFGRID_PARALEL", "Did you mean OFFGRID_PARALLEL?")


def test_a_mistake_in_the_settings_file_is_one_sentence(tmp_path):
    (tmp_path / "offgrid.yaml").write_text("server:\n  prot: 1\n")
    check_one_sentence(start(str(REPO / "offgrid.py"), cwd=tmp_path), "server.prot", "server.port")


def test_a_port_in_use_is_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = start(str(REPO / "offgrid.py"), "--port", port, "--data-dir", "data", cwd=tmp_path)
    check_one_sentence(done, port, "in use")


def test_a_data_folder_that_cannot_be_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    done = start(str(REPO / "offgrid.py"), "--port", "0", "--data-dir", "file/data", cwd=tmp_path)
    check_one_sentence(done, "file/data", "--data-dir")


def test_missing_packages_are_one_sentence_with_the_command_that_mends_it(tmp_path):
    program = copy_of_the_program(tmp_path)
    done = start("-S", str(program), cwd=tmp_path)  # -S: no site-packages
    check_one_sentence(done, "pyyaml, llama-cpp-python, numpy, bcrypt are not installed", "make setup", "pip install")


def test_one_missing_package_is_named_alone(tmp_path):
    program = copy_of_the_program(tmp_path)
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("yaml", "llama_cpp", "bcrypt"):  # all but numpy
        (packages / name).symlink_to(
            Path(sys.prefix) / "lib" / f"python3.{sys.version_info[1]}" / "site-packages" / name
        )
    done = start("-S", str(program), cwd=tmp_path, PYTHONPATH=str(packages))
    check_one_sentence(done, "offgrid: numpy is not installed")


def test_missing_packages_are_all_named_although_the_settings_need_only_one(tmp_path):
    program = copy_of_the_program(tmp_path)
    (tmp_path / "offgrid.yaml").write_text("server:\n  port: 0\n")
    check_one_sentence(start("-S", str(program), cwd=tmp_path), "pyyaml, llama-cpp-python, numpy, bcrypt")
    check_one_sentence(start("-S", str(program), "models", cwd=tmp_path), "pyyaml")


# --- the zipapp ---


def test_the_zipapp_starts_and_its_worker_is_the_zipapp_too(tmp_path):
    copy_of_the_program(tmp_path)
    subprocess.run(["sh", "scripts/dist.sh"], cwd=tmp_path, env={**os.environ, "PYTHON": sys.executable}, check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    archive = Path(shutil.move(tmp_path / "dist" / "offgrid.pyz", elsewhere))
    tiny_models.chat_model(elsewhere / "tiny.gguf")
    flags = ("--models-dir", str(elsewhere))
    server = RunningServer(tmp_path / "data", *flags, program=("offgrid.pyz", "serve"), cwd=elsewhere)
    try:
        answer = server.chat("Hello!", max_tokens=4)
        assert answer["usage"]["completion_tokens"] == 4
        [worker] = server.children()
        command = Path(f"/proc/{worker}/cmdline").read_text().split("\0")
        assert command[1:3] == [str(archive), "_worker"]
    finally:
        assert server.stop() == 0
