"""Reads the settings: flags > environment > offgrid.yaml > default, once, into the frozen sections of `sections.py`.

`settings.py` holds how a person spells each setting and what is allowed. Adding one: a field in `sections.py`, a row
there, a line in offgrid.yaml and in docs/configuration.md (tests compare the four).
Must stay true: an unknown name or a wrong value stops the start with one sentence (`SetupError`). Only the value that
wins is checked, so that a flag can overrule an `OFFGRID_HOST` that was meant for the Python library.
yaml and difflib are imported where they are used: the server must answer 0.3 s after its start.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from offgrid.errors import SetupError
from offgrid.sections import (
    AccessSettings,
    AgentSettings,
    Config,
    EngineSettings,
    LogSettings,
    ModelSettings,
    PathSettings,
    Personality,
    RagSettings,
    ServerSettings,
    ServiceSettings,
)
from offgrid.settings import FOREIGN_VARIABLES, MODEL_SETTINGS, PERSONALITY_SETTINGS, SETTINGS, Setting

BY_NAME = {setting.name: setting for setting in SETTINGS}
BY_ENV = {setting.env: setting for setting in SETTINGS if setting.env}
MODEL_BY_NAME = {setting.name: setting for setting in MODEL_SETTINGS}
PERSONALITY_BY_NAME = {setting.name: setting for setting in PERSONALITY_SETTINGS}
NOTHING_TO_CHECK = (
    "and there is nothing to check them against: set OFFGRID_MULTI_USER=true for accounts, or OFFGRID_API_KEY for one "
    "key for all."
)
SECTIONS = tuple(dict.fromkeys(setting.place[0] for setting in SETTINGS))


def load(flags: Mapping[str, object], environ: Mapping[str, str], default_path: Path | None = None) -> Config:
    """The settings of one server.

    `flags` is what argparse read (see `add_flags`): setting name -> text, "config" -> path; other names are the
    command line's own. Without --config and OFFGRID_CONFIG the file is ./offgrid.yaml, else `default_path` (the one
    beside offgrid.py), else none. Relative paths count from the folder of the yaml when they stand in it or are
    defaults, and from the current folder when they come from a flag, a variable, or there is no yaml.

    Raises SetupError: where, what was given, what is wanted.
    """
    _refuse_unknown_variables(environ)
    file = _find_file(flags, environ, default_path)
    content = _read_yaml(file) if file else {}
    home = file.parent if file else Path.cwd()
    given = _flatten(content, file)
    sections = {section: {} for section in SECTIONS}
    for setting in SETTINGS:
        section, key = setting.place
        sections[section][key] = _choose(setting, flags, environ, given, file, home)
    models = _models(content.get("models"), file)
    sections["engine"]["models"] = MappingProxyType(models)
    sections["engine"]["aliases"] = MappingProxyType(_all_aliases(sections["engine"]["aliases"], models, file))
    config = Config(
        server=ServerSettings(**sections["server"]),
        access=AccessSettings(**sections["access"]),
        services=ServiceSettings(**sections["services"]),
        engine=EngineSettings(**sections["engine"]),
        rag=RagSettings(**sections["rag"]),
        agents=AgentSettings(**sections["agents"]),
        paths=PathSettings(**sections["paths"]),
        log=LogSettings(**sections["log"]),
        personalities=MappingProxyType(_personalities(content.get("personalities"), file)),
        file=file,
    )
    _check_together(config)
    return config


def default(setting: Setting) -> object:
    """The value of a row of SETTINGS when nobody gives one; relative paths are not yet absolute."""
    section, key = setting.place
    return getattr(getattr(Config(), section), key)


def show(value: object) -> str:
    """A setting's value as a person writes it in offgrid.yaml."""
    if value is None or value == "":
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(show, value)) + "]"
    if isinstance(value, Mapping):
        return str(dict(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def add_flags(parser) -> None:
    """Adds every flag to an `argparse.ArgumentParser`; only given ones are in its namespace, as text under their names.

    Make the parser with `allow_abbrev=False`, and hand what it does not know to `unknown_flag`.
    """
    from argparse import SUPPRESS

    parser.add_argument("--config", metavar="FILE", default=SUPPRESS, help="the offgrid.yaml to read [OFFGRID_CONFIG]")
    groups = {section: parser.add_argument_group(section) for section in SECTIONS}
    for setting in SETTINGS:
        if setting.flag:
            text = f"{setting.help} [{setting.env}; default {show(default(setting))} {setting.unit}".rstrip() + "]"
            section, key = setting.place
            groups[section].add_argument(
                setting.flag, dest=setting.name, metavar=key.upper(), default=SUPPRESS, help=text.replace("%", "%%")
            )


def unknown_flag(given: str) -> SetupError:
    flag = given.partition("=")[0]
    names = ["--config", *(setting.flag for setting in SETTINGS if setting.flag)]
    return SetupError(f"There is no flag {flag}.{_did_you_mean(flag, names)}")


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    for name in sorted(environ):
        if not name.startswith("OFFGRID_") or name in BY_ENV or name == "OFFGRID_CONFIG":
            continue
        reason = FOREIGN_VARIABLES.get(name.removeprefix("OFFGRID_"))
        if reason:
            raise SetupError(f"The environment variable {name} is set. {reason}")
        raise SetupError(f"There is no environment variable {name}.{_did_you_mean(name, [*BY_ENV, 'OFFGRID_CONFIG'])}")


def _find_file(flags: Mapping, environ: Mapping[str, str], default_path: Path | None) -> Path | None:
    for where, given in (("--config", flags.get("config")), ("OFFGRID_CONFIG", environ.get("OFFGRID_CONFIG"))):
        if given is not None:
            if not Path(given).is_file():
                raise SetupError(f"{where} names {str(given)!r}, and there is no such file.")
            return Path(given).absolute()
    for path in (Path("offgrid.yaml"), default_path):
        if path is not None and path.is_file():
            return path.absolute()
    return None


def _read_yaml(path: Path) -> dict:
    try:
        import yaml
    except ImportError:
        raise SetupError(
            f"{path} cannot be read without the package pyyaml: run `python -m pip install pyyaml`."
        ) from None

    # The C parser, where libyaml is there: 2 ms instead of 20 for offgrid.yaml.
    class StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        """PyYAML keeps the last of two equal keys in silence; here it is an error."""

        def construct_mapping(self, node, deep=False):
            seen = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    continue
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} stands here a second time", key.start_mark
                    )
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), StrictLoader)
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SetupError(f"{path} is not UTF-8 text: save it as UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SetupError(f"{path}, line {mark.line + 1}, is not right: {error.problem}.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SetupError(f"{path} is not right: {error}.") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SetupError(f"{path}, line 1, holds no settings: wanted are sections such as `server:`.")
    return content


def _flatten(content: dict, file: Path | None) -> dict[str, object]:
    """The yaml's settings by their dotted names; every name is a known one."""
    known = [*BY_NAME, "models", "personalities"]
    given = {}
    for section, body in content.items():
        if section not in SECTIONS:
            if section not in known:
                raise SetupError(f"{file}: there is no setting {section}.{_did_you_mean(str(section), known)}")
            given[section] = {} if body is None else body
            continue
        if not isinstance(body, dict | None):
            raise SetupError(f"{section} in {file} is {body!r}; it must have its settings below it, one a line.")
        for key, value in (body or {}).items():
            name = f"{section}.{key}"
            if name not in BY_NAME:
                raise SetupError(f"{file}: there is no setting {name}.{_did_you_mean(name, known)}")
            given[name] = value
    return given


def _choose(
    setting: Setting, flags: Mapping, environ: Mapping, given: Mapping, file: Path | None, home: Path
) -> object:
    if setting.name in flags:
        return _read(setting, flags[setting.name], f"The flag {setting.flag}", Path.cwd(), is_text=True)
    if setting.env in environ:
        return _read(setting, environ[setting.env], f"The environment variable {setting.env}", Path.cwd(), is_text=True)
    if setting.name in given:
        return _read(setting, given[setting.name], f"{setting.name} in {file}", home)
    return _absolute(default(setting), home)


def _read(setting: Setting, value: object, where: str, folder: Path, *, is_text: bool = False) -> object:
    try:
        typed = setting.kind.parse(value) if is_text else value
        return _absolute(setting.kind.check(typed), folder)
    except ValueError as error:
        shown = "empty" if value is None else "not right" if setting.is_secret else repr(value)
        hint = f" {error}" if str(error) else ""
        raise SetupError(f"{where} is {shown}; it must be {setting.kind.wanted}.{hint}") from None


def _absolute(value: object, folder: Path) -> object:
    if isinstance(value, Path):
        return folder / value.expanduser()
    if isinstance(value, tuple):
        return tuple(_absolute(item, folder) for item in value)
    return value


def _by_id(section: str, content: object, known: Mapping[str, Setting], file: Path | None) -> dict[str, dict]:
    """id → its settings, of a section that has ids of the user's own below it."""
    if not isinstance(content, dict | None):
        raise SetupError(f"{section} in {file} is {content!r}; it must have ids below it, each with its settings.")
    found = {}
    for id, body in (content or {}).items():
        where = f"{section}.{id}"
        if not isinstance(id, str) or not isinstance(body, dict | None):
            raise SetupError(f"{where} in {file} must be an id (text) with its settings below it.")
        found[id] = {}
        for key, value in (body or {}).items():
            if key not in known:
                raise SetupError(f"{file}: there is no setting {where}.{key}.{_did_you_mean(str(key), known)}")
            found[id][key] = _read(known[key], value, f"{where}.{key} in {file}", file.parent)
    return found


def _personalities(content: object, file: Path | None) -> dict[str, Personality]:
    found = {}
    for id, values in _by_id("personalities", content, PERSONALITY_BY_NAME, file).items():
        if not values.get("system_prompt"):
            raise SetupError(f"personalities.{id} in {file} needs a system_prompt: what the model is told first.")
        found[id] = Personality(**{"name": id, **values})
    return found


def _models(content: object, file: Path | None) -> dict[str, ModelSettings]:
    models = {}
    for model, values in _by_id("models", content, MODEL_BY_NAME, file).items():
        if "chat_template" in values:
            values["chat_template"] = _template(values["chat_template"], model, file)
        models[model] = ModelSettings(**values)
    return models


def _template(value: str, model: str, file: Path) -> str:
    """The text of a chat template that is given inline (it holds a brace) or as the path of a file."""
    if "{" in value:
        return value
    path = file.parent / Path(value).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SetupError(f"models.{model}.chat_template in {file}: {path} cannot be read: {error}.") from None


def _all_aliases(aliases: Mapping[str, str], models: Mapping[str, ModelSettings], file: Path | None) -> dict[str, str]:
    merged = dict(aliases)
    for model, settings in models.items():
        for alias in settings.aliases:
            if merged.setdefault(alias, model) != model:
                raise SetupError(f"{file}: models.{model}.aliases: {alias!r} is already a name of {merged[alias]!r}.")
    return merged


def _check_together(config: Config) -> None:
    """What no single setting can know."""
    server, engine = config.server, config.engine
    if (server.tls_cert is None) != (server.tls_key is None):
        raise SetupError("server.tls_cert and server.tls_key belong together: give both, or neither for plain http.")
    for name, path in (("server.tls_cert", server.tls_cert), ("server.tls_key", server.tls_key)):
        if path is not None and not path.is_file():
            raise SetupError(f"{name}: there is no file {path}.")
    _check_ports(server)
    _check_access(config.access, server)
    if config.services.require_key and not (config.access.multi_user or server.api_key):
        raise SetupError(f"services.require_key asks for credentials, {NOTHING_TO_CHECK}")
    _check_engine(engine, "engine.")
    for model in engine.models:
        _check_engine(engine.for_model(model), f"models.{model}.")


def _check_ports(server: ServerSettings) -> None:
    fixed = [port for port in (server.port, *server.extra_ports) if port]
    if twice := next((port for port in fixed if fixed.count(port) > 1), None):
        raise SetupError(f"server.extra_ports: the server would listen on port {twice} twice; leave one of them out.")


def _check_access(access: AccessSettings, server: ServerSettings) -> None:
    if access.multi_user and server.api_key:
        raise SetupError(
            "access.multi_user gives everybody keys of their own, and server.api_key is one key for all: choose one "
            "(OFFGRID_MULTI_USER, OFFGRID_API_KEY)."
        )
    if access.require_auth and not access.multi_user and not server.api_key:
        raise SetupError(f"access.require_auth asks for credentials, {NOTHING_TO_CHECK}")


def _check_engine(engine: EngineSettings, where: str) -> None:
    if engine.parallel > engine.batch_size:
        raise SetupError(
            f"{where}parallel is {engine.parallel} and {where}batch_size {engine.batch_size}: "
            "a step computes one token for each running answer, so the batch must be at least as large."
        )
    if engine.kv_cache_type != "f16" and engine.flash_attention == "off":
        raise SetupError(
            f"{where}kv_cache_type {engine.kv_cache_type} needs flash attention: "
            f"set {where}flash_attention to auto or on."
        )


def _did_you_mean(given: str, names: Iterable[str]) -> str:
    """The nearest known name, as the end of a sentence. A right key in the wrong section is the nearest of all."""
    import difflib

    names = list(names)
    key = given.rpartition(".")[2]
    nearest = [name for name in names if name.rpartition(".")[2] == key] or difflib.get_close_matches(given, names, 1)
    return f" Did you mean {nearest[0]}?" if nearest else " docs/configuration.md lists them all."
