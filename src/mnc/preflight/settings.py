"""What there is to say about settings that are right one by one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from mnc.config import Settings
from mnc.preflight.finding import Finding

__all__ = ["settings_findings"]

_finding = partial(Finding, area="settings")


def settings_findings(settings: Settings, near_misses: Mapping[str, str]) -> list[Finding]:
    """Return what the settings ask for, and the variables that look like misspelt ones."""
    databases = tuple(settings.selections.databases)
    asked_for = (
        f"{', '.join(settings.mongo_watch_operations)} of "
        f"{', '.join(settings.mongo_watch_collections)} in "
        f"database{'s' if len(databases) > 1 else ''} {', '.join(databases)}, "
        f"into stream{'s' if len(settings.streams) > 1 else ''} {', '.join(settings.streams)}"
    )
    return [
        _finding(check="watched", level="ok", found=asked_for),
        *(
            _finding(
                check="misspelt",
                level="warning",
                found=f"the variable {name} is no setting",
                remedy=f"call it {meant}, if that is what it means",
            )
            for name, meant in near_misses.items()
        ),
    ]
