"""Help for the commands that read the settings, made from the settings' own model."""

from __future__ import annotations

import click

from mnc.config import setting_rows

__all__ = ["SettingsCommand"]


class SettingsCommand(click.Command):
    """A command whose `--help` ends with the list of settings."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the settings with their defaults after the options."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Settings, from the environment"):
            formatter.write_dl(
                [
                    (row.name, f"{row.description} [{_default(row.default)}]")
                    for row in setting_rows()
                ]
            )
        with formatter.section("Other sources"):
            formatter.write_dl(
                [
                    ("MNC_CONFIG", "A TOML file of the same names in lower case."),
                    *(
                        (f"{row.name}_FILE", f"A file that {row.name} is read from.")
                        for row in setting_rows()
                        if row.is_secret
                    ),
                ]
            )


def _default(default: str | None) -> str:
    return "required" if default is None else f"default {default}"
