"""The settings: read once at the edge, checked, and frozen."""

from mnc.config.load import load_settings, near_misses, require_single_instance
from mnc.config.security import NatsSecurity
from mnc.config.settings import LogFormat, LogLevel, SettingRow, Settings, setting_rows
from mnc.config.uris import mask_credentials

__all__ = [
    "LogFormat",
    "LogLevel",
    "NatsSecurity",
    "SettingRow",
    "Settings",
    "load_settings",
    "mask_credentials",
    "near_misses",
    "require_single_instance",
    "setting_rows",
]
