"""The JSON schema of the TOML file of settings, for editors."""

from __future__ import annotations

from mnc.config.settings import Settings

__all__ = ["toml_schema"]


def toml_schema() -> dict[str, object]:
    """Return the schema, made from the settings' own model.

    Nothing is required, because every setting may come from elsewhere.
    """
    schema: dict[str, object] = Settings.model_json_schema()
    del schema["required"]
    return schema | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "MNC_CONFIG",
        "description": "Settings of mnc, as in a TOML file that MNC_CONFIG names.",
    }
