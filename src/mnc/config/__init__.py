"""The settings: read once at the edge, checked, and frozen."""

from mnc.config.load import (
    SettingInForce,
    SettingSource,
    load_settings,
    near_misses,
    settings_in_force,
)
from mnc.config.security import NatsSecurity
from mnc.config.selection import Selection
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
    "AssignmentPolicy",
    "LogFormat",
    "LogLevel",
    "NatsSecurity",
    "Selection",
    "SettingInForce",
    "SettingRow",
    "SettingSource",
    "Settings",
    "load_settings",
    "mask_credentials",
    "near_misses",
    "setting_rows",
    "settings_in_force",
]
