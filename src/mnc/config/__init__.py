"""The settings: read once at the edge, checked, and frozen."""

from mnc.config.load import load_settings, near_misses
from mnc.config.security import NatsSecurity
from mnc.config.settings import (
    AssignmentPolicy,
    LogFormat,
    LogLevel,
    OversizePolicy,
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
    "OversizePolicy",
    "SettingRow",
    "Settings",
    "load_settings",
    "mask_credentials",
    "near_misses",
    "setting_rows",
]
