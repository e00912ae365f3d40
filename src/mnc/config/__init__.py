"""The settings: read once at the edge, checked, and frozen."""

from mnc.config.fields import OversizePolicy, PoisonPolicy
from mnc.config.load import (
    SettingInForce,
    SettingSource,
    load_settings,
    near_misses,
    settings_in_force,
)
from mnc.config.pipeline import NO_PIPELINE, pipeline_stages
from mnc.config.schema import toml_schema
from mnc.config.sections import CollectionPolicy
from mnc.config.security import NatsSecurity
from mnc.config.selection import Selection, Selections
from mnc.config.settings import (
    AssignmentPolicy,
    LogFormat,
    LogLevel,
    SettingRow,
    Settings,
    setting_rows,
)
from mnc.config.uris import mask_credentials

__all__ = [
    "NO_PIPELINE",
    "AssignmentPolicy",
    "CollectionPolicy",
    "LogFormat",
    "LogLevel",
    "NatsSecurity",
    "OversizePolicy",
    "PoisonPolicy",
    "Selection",
    "Selections",
    "SettingInForce",
    "SettingRow",
    "SettingSource",
    "Settings",
    "load_settings",
    "mask_credentials",
    "near_misses",
    "pipeline_stages",
    "setting_rows",
    "settings_in_force",
    "toml_schema",
]
