"""The table of settings, the sections, offgrid.yaml, the flags and the documentation say the same."""

import argparse
import dataclasses
import re
from pathlib import Path

import pytest

from offgrid import config
from offgrid.settings import MODEL_SETTINGS, PERSONALITY_SETTINGS, SETTINGS
from offgrid.types import SERVICES

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_table_and_sections_have_the_same_names():
    places = {setting.place for setting in SETTINGS} | {("engine", "models")}
    fields = {
        (section, field.name)
        for section in config.SECTIONS
        for field in dataclasses.fields(getattr(config.Config(), section))
    }
    assert places == fields
    for settings, section in ((MODEL_SETTINGS, config.ModelSettings), (PERSONALITY_SETTINGS, config.Personality)):
        assert [setting.name for setting in settings] == [f.name for f in dataclasses.fields(section)]
    assert [f.name for f in dataclasses.fields(config.ServiceSettings)] == [*SERVICES, "require_key", "keep_responses"]


def test_no_name_stands_twice_in_the_table():
    for column in ("name", "env", "flag"):
        names = [getattr(setting, column) for setting in SETTINGS if getattr(setting, column)]
        assert len(names) == len(set(names))


def test_every_default_may_be_written_where_a_setting_is_written():
    for setting in SETTINGS:
        if setting.flag:
            text = config.show(config.default(setting)).strip('"[]')
            assert setting.kind.check(setting.kind.parse(text)) == config.default(setting), setting.name


def test_offgrid_yaml_holds_every_setting_with_its_default():
    import yaml

    content = yaml.safe_load((ROOT / "offgrid.yaml").read_text(encoding="utf-8"))
    names = {f"{s}.{key}" for s in config.SECTIONS for key in content[s]} | (content.keys() - set(config.SECTIONS))
    assert names == {setting.name for setting in SETTINGS} | {"models", "personalities"}
    loaded = config.load({"config": ROOT / "offgrid.yaml"}, {})
    assert loaded.server == config.ServerSettings()
    assert loaded.access == config.AccessSettings()
    assert loaded.services == config.ServiceSettings()
    assert loaded.personalities == {}
    assert loaded.engine == config.EngineSettings()
    assert loaded.log == config.LogSettings()
    assert loaded.rag == config.RagSettings()
    assert loaded.paths == config.PathSettings(models_dir=ROOT / "models", data_dir=ROOT / "data")


def test_the_examples_in_offgrid_yaml_work_and_show_every_setting_of_models_and_personalities():
    lines = (ROOT / "offgrid.yaml").read_text(encoding="utf-8").splitlines()
    start, end = lines.index("aliases:"), lines.index("rag:")
    example = [line.replace("# ", "", 1) if line.startswith("  #") else line for line in lines[start : end - 1]]
    Path("my-template.jinja").write_text("{{ messages }}")
    Path("offgrid.yaml").write_text("\n".join(example), encoding="utf-8")
    loaded = config.load({}, {})
    (model,) = loaded.engine.models.values()
    assert all(getattr(model, setting.name) is not None for setting in MODEL_SETTINGS)
    (personality,) = loaded.personalities.values()
    assert all(getattr(personality, setting.name) for setting in PERSONALITY_SETTINGS)


def test_docs_list_every_setting_as_the_table_has_it():
    rows = []
    for setting in SETTINGS:
        flag, env = (f" `{name}`" if name else "" for name in (setting.flag, setting.env))
        value = f"`{config.show(config.default(setting))}` {setting.unit}".rstrip()
        rows.append(f"| `{setting.name}` |{flag} |{env} | {value} | {setting.help} |")
    below_an_id = (*MODEL_SETTINGS, *PERSONALITY_SETTINGS)
    rows += [f"| `{setting.name}` | {setting.kind.wanted} | {setting.help} |" for setting in below_an_id]
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `.*$", text, re.MULTILINE) == rows


def test_every_flag_arrives_under_its_settings_name_and_only_when_given():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    config.add_flags(parser)
    assert vars(parser.parse_args([])) == {}
    for setting in SETTINGS:
        if setting.flag:
            assert vars(parser.parse_args([setting.flag, "x"])) == {setting.name: "x"}
            assert setting.env in parser.format_help()
