"""Settings: what wins, what is refused and with which words."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from offgrid import config
from offgrid.errors import SetupError
from offgrid.settings import FOREIGN_VARIABLES

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_yaml(text: str) -> Path:
    path = Path("offgrid.yaml").absolute()
    path.write_text(text, encoding="utf-8")
    return path


def refusal(flags=(), environ=(), yaml=None) -> str:
    if yaml is not None:
        write_yaml(yaml)
    with pytest.raises(SetupError) as caught:
        config.load(dict(flags), dict(environ))
    return str(caught.value)


def test_without_any_file_every_setting_has_its_default(tmp_path):
    loaded = config.load({}, {})
    assert loaded.server == config.ServerSettings()
    assert loaded.engine == config.EngineSettings()
    assert loaded.log == config.LogSettings()
    assert loaded.paths.models_dir == tmp_path / "models"
    assert loaded.file is None


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default():
    environ = {"OFFGRID_PORT": "2"}
    assert config.load({}, {}).server.port == 11611
    write_yaml("server: {port: 1}")
    assert config.load({}, {}).server.port == 1
    assert config.load({}, environ).server.port == 2
    assert config.load({"server.port": "3", "command": "serve"}, environ).server.port == 3


def test_a_named_file_wins_over_the_one_here_over_the_one_beside_the_program(tmp_path):
    ports = {}
    for name in ("flag", "env", "beside"):
        ports[name] = tmp_path / f"{name}.yaml"
        ports[name].write_text(f"log: {{n_files: {len(ports)}}}")
    assert config.load({}, {}, ports["beside"]).log.n_files == 3
    write_yaml("log: {n_files: 9}")
    assert config.load({}, {}, ports["beside"]).log.n_files == 9
    assert config.load({}, {"OFFGRID_CONFIG": str(ports["env"])}).log.n_files == 2
    assert config.load({"config": str(ports["flag"])}, {"OFFGRID_CONFIG": str(ports["env"])}).log.n_files == 1


def test_a_named_file_that_is_missing_is_refused():
    assert "--config names 'no.yaml'" in refusal({"config": "no.yaml"})
    assert "OFFGRID_CONFIG names 'no.yaml'" in refusal(environ={"OFFGRID_CONFIG": "no.yaml"})


def test_a_wrong_value_is_refused_with_its_place_what_was_given_and_what_is_wanted(tmp_path):
    wanted = "it must be a whole number from 0 to 65535."
    assert refusal({"server.port": "http"}) == f"The flag --port is 'http'; {wanted}"
    assert refusal(environ={"OFFGRID_PORT": ""}) == f"The environment variable OFFGRID_PORT is ''; {wanted}"
    assert refusal(yaml="server: {port: '80'}") == f"server.port in {tmp_path / 'offgrid.yaml'} is '80'; {wanted}"
    assert refusal(yaml="server:\n  port:\n") == f"server.port in {tmp_path / 'offgrid.yaml'} is empty; {wanted}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("server.port", "65536"),
        ("server.port", "-1"),
        ("server.port", "8_0"),
        ("server.port", "٨٠"),
        ("server.extra_ports", "http"),
        ("server.extra_ports", "11434 9642"),
        ("server.extra_ports", "65536"),
        ("services.require_key", "openai,offgrid"),
        ("engine.ctx_size", "255"),
        ("engine.preload", "maybe"),
        ("engine.kv_cache_type", "F16"),
        ("engine.load_timeout_s", "nan"),
        ("engine.load_timeout_s", "5s"),
        ("server.host", ""),
        ("server.host", "256.1.1.1"),
        ("server.host", "two words"),
        ("server.host", ":::"),
        ("server.cors_origins", "example.org"),
        ("server.cors_origins", "http://a/path"),
        ("server.allowed_hosts", "http://a"),
        ("paths.data_dir", ""),
    ],
)
def test_a_value_out_of_range_is_refused(name, text):
    assert "it must be" in refusal({name: text})


@pytest.mark.parametrize(
    "yaml",
    [
        "server: {port: true}",
        "server: {port: 80.0}",
        "server: {tls_cert: false}",
        "server: {allowed_hosts: one}",
        "server: {extra_ports: 11434}",
        "server: {extra_ports: ['11434']}",
        "services: {require_key: openai}",
        "personalities: [a]",
        "personalities: {7: {system_prompt: x}}",
        "personalities: {a: {system_prompt: 1}}",
        "server: {api_key: 12345}",
        "engine: {preload: 1}",
        "engine: {load_timeout_s: yes}",
        "engine: []",
        "models: [a]",
        "models: {a: 1}",
        "models: {7: {top_k: 1}}",
        "models: {a: {temperature: 3}}",
        "aliases: [a]",
        "aliases: {a: 1}",
    ],
)
def test_a_wrong_type_in_the_file_is_refused(yaml):
    assert "must" in refusal(yaml=yaml)


@pytest.mark.parametrize(
    ("flag", "value"),
    [("1", True), ("true", True), ("YES", True), ("on", True), ("0", False), ("False", False), ("no", False)],
)
def test_a_switch_is_read_in_all_its_spellings(flag, value):
    assert config.load({"log.access_log": flag}, {}).log.access_log is value


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1", "fe80::1%eth0", "localhost", "pi.school.lan", "192.168.1.5"])
def test_a_host_is_an_address_or_a_name(host):
    assert config.load({"server.host": host}, {}).server.host == host


def test_lists_come_with_commas_or_as_a_yaml_list():
    write_yaml("server: {allowed_hosts: [a.lan, b.lan]}")
    loaded = config.load({}, {"OFFGRID_CORS_ORIGINS": "http://a:1, https://b,"})
    assert loaded.server.allowed_hosts == ("a.lan", "b.lan")
    assert loaded.server.cors_origins == ("http://a:1", "https://b")


def test_a_bare_on_in_the_file_is_the_word_on():
    write_yaml("engine: {flash_attention: on}")
    assert config.load({}, {}).engine.flash_attention == "on"


def test_a_bare_off_in_the_file_is_the_word_off_where_there_is_no_on():
    write_yaml("engine: {speculation: off}\nmodels: {tiny: {speculation: off}}")
    engine = config.load({}, {}).engine
    assert (engine.speculation, engine.models["tiny"].speculation) == ("off", "off")


def test_a_url_in_the_host_variable_is_explained_and_a_flag_overrules_it():
    environ = {"OFFGRID_HOST": "http://192.168.1.5:11611"}
    message = refusal(environ=environ)
    assert "OFFGRID_HOST" in message and "A URL with its port is for clients" in message and "--host" in message
    assert config.load({"server.host": "0.0.0.0"}, environ).server.host == "0.0.0.0"


def test_a_key_that_is_refused_is_not_shown():
    assert "sec ret" not in refusal({"server.api_key": "sec ret"})


@pytest.mark.parametrize(
    ("yaml", "unknown", "nearest"),
    [
        ("server: {prot: 1}", "server.prot", "server.port"),
        ("port: 1", "port", "server.port"),
        ("engine: {port: 1}", "engine.port", "server.port"),
        ("modles: {}", "modles", "models"),
        ("models: {a.b: {tempreature: 1}}", "models.a.b.tempreature", "temperature"),
    ],
)
def test_an_unknown_name_in_the_file_is_refused_with_the_nearest_known_one(yaml, unknown, nearest):
    assert f"there is no setting {unknown}. Did you mean {nearest}?" in refusal(yaml=yaml)


def test_an_unknown_variable_is_refused_with_the_nearest_known_one():
    assert refusal(environ={"OFFGRID_PROT": "1"}) == (
        "There is no environment variable OFFGRID_PROT. Did you mean OFFGRID_PORT?"
    )
    assert config.load({}, {"OFFGRIDLOCK": "1", "PATH": ""}).file is None


def test_an_unknown_flag_names_the_nearest_known_one():
    assert str(config.unknown_flag("--modles-dir=x")) == "There is no flag --modles-dir. Did you mean --models-dir?"


@pytest.mark.parametrize("name", FOREIGN_VARIABLES)
def test_a_variable_of_the_original_without_a_setting_here_is_refused_with_what_to_do(name):
    assert refusal(environ={f"OFFGRID_{name}": "true"}).endswith(FOREIGN_VARIABLES[name])
    assert f"OFFGRID_{name}" not in config.BY_ENV


@pytest.mark.parametrize(
    ("yaml", "line", "problem"),
    [
        ("server:\n  port: 1\n  port: 2\n", 3, "'port' stands here a second time"),
        ("server:\n  port: 1\nserver:\n  host: a\n", 3, "'server' stands here a second time"),
        ("server:\n\tport: 1\n", 2, "cannot start any token"),
        ("server: [1\n", 2, ""),
        ("just words", 1, "holds no settings"),
        ("- server", 1, "holds no settings"),
        ("a: 1\n---\nb: 2\n", 2, ""),
    ],
)
def test_a_file_that_is_no_mapping_of_settings_is_refused_with_its_line(yaml, line, problem):
    message = refusal(yaml=yaml)
    assert f"offgrid.yaml, line {line}, " in message and problem in message
    assert "\n" not in message


def test_a_file_that_is_not_utf8_is_refused():
    Path("offgrid.yaml").write_bytes("server: {host: schöne}".encode("latin-1"))
    assert "not UTF-8" in refusal()


def test_an_empty_file_and_empty_sections_are_fine():
    write_yaml("# nothing\n")
    assert config.load({}, {}).server == config.ServerSettings()
    write_yaml("server:\nmodels:\naliases:\n")
    assert config.load({}, {}).server == config.ServerSettings()


def test_relative_paths_count_from_the_file_or_from_the_current_folder(tmp_path):
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "offgrid.yaml").write_text("paths: {models_dirs: [usb, /abs]}")
    paths = config.load({"config": "etc/offgrid.yaml"}, {"OFFGRID_DATA_DIR": "here"}).paths
    assert paths.models_dirs == (folder / "usb", Path("/abs"))
    assert paths.models_dir == folder / "models"
    assert paths.data_dir == tmp_path / "here"


def test_certificate_and_key_belong_together_and_must_exist(tmp_path):
    (tmp_path / "cert.pem").touch()
    assert "belong together" in refusal({"server.tls_cert": "cert.pem"})
    assert "server.tls_key: there is no file" in refusal({"server.tls_cert": "cert.pem", "server.tls_key": "key.pem"})
    (tmp_path / "key.pem").touch()
    server = config.load({"server.tls_cert": "cert.pem", "server.tls_key": "key.pem"}, {}).server
    assert (server.tls_cert, server.tls_key) == (tmp_path / "cert.pem", tmp_path / "key.pem")


def test_settings_that_cannot_work_together_are_refused():
    assert "engine.batch_size" in refusal({"engine.parallel": "64", "engine.batch_size": "32"})
    assert "flash attention" in refusal({"engine.kv_cache_type": "q8_0", "engine.flash_attention": "off"})


def test_credentials_that_nothing_could_check_are_refused_with_what_to_do():
    assert "choose one" in refusal({"access.multi_user": "true", "server.api_key": "k"})
    message = refusal(environ={"OFFGRID_REQUIRE_AUTH": "true"})
    assert "OFFGRID_MULTI_USER=true" in message and "OFFGRID_API_KEY" in message
    assert config.load({"access.require_auth": "yes", "server.api_key": "k"}, {}).access.require_auth
    assert config.load({"access.require_auth": "yes", "access.multi_user": "yes"}, {}).access.multi_user
    message = refusal({"services.require_key": "lollms"})
    assert "services.require_key" in message and "OFFGRID_MULTI_USER=true" in message


def test_a_model_has_its_own_settings_and_names(tmp_path):
    (tmp_path / "chat.jinja").write_text("{{ messages }}")
    write_yaml(
        "aliases: {gpt: tiny}\n"
        "models:\n"
        "  tiny: {temperature: 0, ctx_size: 512, chat_template: chat.jinja, aliases: [small]}\n"
        "  org/other: {chat_template: '{{ inline }}'}\n"
        "  plain:\n"
    )
    engine = config.load({}, {}).engine
    assert engine.models["tiny"].temperature == 0
    assert engine.models["tiny"].ctx_size == 512
    assert engine.models["tiny"].chat_template == "{{ messages }}"
    assert engine.models["tiny"].top_p is None
    assert engine.models["org/other"].chat_template == "{{ inline }}"
    assert engine.models["plain"] == config.ModelSettings()
    assert engine.aliases == {"gpt": "tiny", "small": "tiny"}


def test_a_personality_has_a_prompt_and_is_called_by_its_id_unless_it_has_a_name():
    write_yaml("personalities: {tutor: {system_prompt: Teach.}, pirate: {system_prompt: Arr!, name: Pirate Pete}}")
    found = config.load({}, {}).personalities
    assert {id: (one.name, one.system_prompt) for id, one in found.items()} == {
        "tutor": ("tutor", "Teach."),
        "pirate": ("Pirate Pete", "Arr!"),
    }
    assert "personalities.tutor" in refusal(yaml="personalities: {tutor: {name: Tutor}}")
    assert "Did you mean system_prompt?" in refusal(yaml="personalities: {tutor: {sytem_prompt: Teach.}}")


def test_a_port_is_listened_on_once():
    assert config.load({"server.extra_ports": "11434, 9642"}, {}).server.extra_ports == (11434, 9642)
    for yaml in ("server: {extra_ports: [9642, 9642]}", "server: {port: 9642, extra_ports: [9642]}"):
        assert "port 9642 twice" in refusal(yaml=yaml)


def test_a_missing_template_file_is_refused(tmp_path):
    message = refusal(yaml="models: {tiny: {chat_template: no.jinja}}")
    assert "models.tiny.chat_template" in message and str(tmp_path / "no.jinja") in message


def test_one_name_for_two_models_is_refused():
    assert "'x' is already a name of 'a'" in refusal(yaml="models: {a: {aliases: [x]}, b: {aliases: [x]}}")


def test_the_settings_are_frozen():
    loaded = config.load({}, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.server.port = 1
    with pytest.raises(TypeError):
        loaded.engine.aliases["a"] = "b"


def test_importing_the_settings_loads_nothing_heavy():
    heavy = {"yaml", "argparse", "difflib", "numpy", "json", "http", "asyncio"}
    code = "import sys; old = set(sys.modules); import offgrid.config; print(*(set(sys.modules) - old))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "offgrid.settings" in loaded.split()
    assert not heavy & set(loaded.split())


def test_a_missing_yaml_package_is_one_sentence():
    write_yaml("server: {port: 1}")
    code = (
        "import sys; sys.modules['yaml'] = None; sys.path.insert(0, sys.argv[1])\n"
        "from offgrid import config, errors\n"
        "try: config.load({}, {})\n"
        "except errors.SetupError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, check=True).stdout
    assert "pip install pyyaml" in out
