"""Where settings come from: the environment, files of secrets, and a TOML file.

The environment wins over the file that `<NAME>_FILE` names, which wins over the TOML file that
`MNC_CONFIG` names, which wins over the defaults. No message holds a secret.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

from pydantic import SecretStr, ValidationError

from mnc.config.files import read_secret, read_text
from mnc.config.sections import Section, SectionError
from mnc.config.settings import Settings, setting_rows, written
from mnc.config.uris import mask_credentials, mask_uri
from mnc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["SettingInForce", "SettingSource", "load_settings", "near_misses", "settings_in_force"]

_CONFIG = "MNC_CONFIG"
_ROWS = {row.field: row for row in setting_rows()}
_SHOWN_MAX_CHARS = 80

_URIS = {"mongo_uri", "nats_server_url"}
"""Secrets of which hosts and path may be shown."""

_SECTIONS = "collections"
"""The TOML file's key for what differs for some collections."""
_LIKE = {"match": "mongo_watch_collections"}
"""What a key of a section may be, where it has another name than the setting."""

# Variables that begin like these are probably meant for mnc.
_PREFIXES = ("MONGO_", "NATS_", "RAFT_", "HTTP_", "PUBLISH_", "MNC_")


SettingSource = Literal["environment", "secret file", "TOML file", "default"]


@dataclass(frozen=True, slots=True)
class _Found:
    value: object
    source: SettingSource
    path: str | None = None

    @property
    def origin(self) -> str:
        return self.path or "the environment"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingInForce:
    """A setting's value and where it came from, as it may be shown to anybody."""

    name: str
    value: str | None
    """As a user would write it, without what is secret in it; None when it is unset."""
    source: SettingSource
    path: str | None
    """The file that it was read from, if it was."""


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read and check the settings.

    An empty variable counts as unset; variables that are no settings are left alone. Raises
    ConfigError, with every wrong setting on a line of its own: its name, what was found (unless it
    may be a secret), and what is allowed.
    """
    return _checked(_find(environ))


def settings_in_force(environ: Mapping[str, str]) -> Sequence[SettingInForce]:
    """Read and check the settings as `load_settings` does, and say where each came from.

    Raises ConfigError, as `load_settings` does.
    """
    found = _find(environ)
    settings = _checked(found)
    return [
        SettingInForce(
            name=row.name,
            value=_shown_value(getattr(settings, field), is_uri=field in _URIS),
            source=found[field].source if field in found else "default",
            path=found[field].path if field in found else None,
        )
        for field, row in _ROWS.items()
    ] + [
        SettingInForce(
            name=f"{_SECTIONS}[{index}].{key}",
            value=_shown_value(getattr(section, key), is_uri=False),
            source=found[_SECTIONS].source,
            path=found[_SECTIONS].path,
        )
        for index, section in enumerate(settings.collections)
        for key in Section.model_fields
        if key in section.model_fields_set
    ]


def near_misses(environ: Mapping[str, str]) -> dict[str, str]:
    """Find the variables that look like a misspelt setting; return the setting meant for each.

    A setting that is there under its own name was not misspelt.
    """
    known = {_CONFIG, *(row.name for row in _ROWS.values())}
    known |= {f"{row.name}_FILE" for row in _ROWS.values() if row.is_secret}
    unset = known - environ.keys()
    misses = {}
    for name in environ.keys() - known:
        if name.startswith(_PREFIXES) and (meant := get_close_matches(name, unset, 1, 0.8)):
            misses[name] = meant[0]
    return dict(sorted(misses.items()))


def _find(environ: Mapping[str, str]) -> Mapping[str, _Found]:
    return _from_toml(environ) | _from_secret_files(environ) | _from_environment(environ)


def _checked(found: Mapping[str, _Found]) -> Settings:
    outcome = _validate(found)
    if isinstance(outcome, Settings):
        return outcome
    (name, problem), *others = outcome.items()
    raise ConfigError(name, "\n".join([problem, *(f"{name}: {text}" for name, text in others)]))


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Found]:
    values = {field: environ.get(row.name, "").strip() for field, row in _ROWS.items()}
    return {field: _Found(value, "environment") for field, value in values.items() if value}


def _from_secret_files(environ: Mapping[str, str]) -> dict[str, _Found]:
    found = {}
    for field, row in _ROWS.items():
        variable = f"{row.name}_FILE"
        path = environ.get(variable, "").strip()
        if not row.is_secret or not path:
            continue
        if environ.get(row.name, "").strip():
            raise ConfigError(variable, f"{row.name} is set too", remedy="unset one of them")
        found[field] = _Found(read_secret(variable, path), "secret file", path)
    return found


def _from_toml(environ: Mapping[str, str]) -> dict[str, _Found]:
    path = environ.get(_CONFIG, "").strip()
    if not path:
        return {}
    values = _parse_toml(path)
    if unknown := [_unknown(key, _ROWS) for key in values if key not in {_SECTIONS, *_ROWS}]:
        raise ConfigError(_CONFIG, f"in {path!r}, {', '.join(unknown)}")
    return {field: _Found(value, "TOML file", path) for field, value in values.items()}


def _parse_toml(path: str) -> dict[str, object]:
    text = read_text(_CONFIG, path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem = f"{path!r} is not TOML: {error}"
    # Outside the handler, so that the cause, which may hold the text, is not attached.
    raise ConfigError(_CONFIG, problem)


def _unknown(key: str, known: Collection[str]) -> str:
    close = get_close_matches(key.lower(), known, 1)
    return f"{key!r} is not a setting" + (f" (did you mean {close[0]!r}?)" if close else "")


def _validate(found: Mapping[str, _Found]) -> Settings | dict[str, str]:
    """Return the settings, or the first problem of each wrong one by its name."""
    values = {field: item.value for field, item in found.items()}
    secret_files = {
        field: item.path for field, item in found.items() if item.source == "secret file"
    }
    try:
        return Settings.model_validate(values, context=secret_files)
    except ValidationError as error:
        problems: dict[str, str] = {}
        for detail in error.errors(include_url=False, include_input=False):
            field, *place = detail["loc"]
            reason = detail.get("ctx", {}).get("error")
            if isinstance(reason, SectionError):
                place = [reason.index, reason.key]
            if field == _SECTIONS:
                name, text = _problem_of_section(found[_SECTIONS], place, reason)
            else:
                name = _ROWS[str(field)].name
                text = _problem(str(field), found.get(str(field)), reason)
            problems.setdefault(name, text)
        return problems


def _problem(field: str, found: _Found | None, reason: ValueError | None) -> str:
    row = _ROWS[field]
    if found is None:
        what = "is not set"
    elif row.is_secret:
        what = f"the value in {found.origin} is wrong"
    else:
        what = f"found {_shown(found.value)} in {found.origin}"
    return _sentence(what, reason, row.allowed)


def _problem_of_section(
    found: _Found, place: Sequence[int | str], reason: ValueError | None
) -> tuple[str, str]:
    """Name the section and its key; say what is wrong there."""
    match found.value, place:
        case list(sections), [int(index), str(key), *_] if isinstance(sections[index], dict):
            section: dict[str, object] = sections[index]
            name = f"[[{_SECTIONS}]] {index + 1} ({_shown(section.get('match'))}), {key}"
            if key not in Section.model_fields:
                return name, f"in {found.path!r}, {_unknown(key, Section.model_fields)}"
            value, allowed = section.get(key), _ROWS[_LIKE.get(key, key)].allowed
        case _:
            name, value, allowed = f"[[{_SECTIONS}]]", found.value, "sections of a TOML file"
    return name, _sentence(
        "is not set" if value is None else f"found {_shown(value)} in {found.path}",
        reason,
        allowed,
    )


def _sentence(what: str, reason: ValueError | None, allowed: str) -> str:
    problem = f"{what}: {mask_credentials(str(reason))}" if reason else what
    return f"{problem}; allowed: {allowed}"


def _shown(value: object) -> str:
    text = mask_credentials(repr(value))  # BEFORE it is cut: half a URI can't be recognised
    return text if len(text) <= _SHOWN_MAX_CHARS else f"{text[:_SHOWN_MAX_CHARS]}..."


def _shown_value(value: object, *, is_uri: bool) -> str | None:
    match value:
        case None | ():
            return None
        case SecretStr():
            return mask_uri(value.get_secret_value()) if is_uri else "***"
        case _:
            return written(value)
