"""`mnc config`: the settings in force, and where each came from."""

from __future__ import annotations

import json
import os
import sys

import click
from rich.console import Console

from mnc.cli.settings import SettingsCommand
from mnc.config import near_misses, settings_in_force, toml_schema
from mnc.terminal.settings import json_settings, plain_settings, terminal_settings

__all__ = ["config"]


@click.command(cls=SettingsCommand)
@click.option("--json", "as_json", is_flag=True, help="Print one object of JSON.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of MNC_CONFIG's file instead.")
def config(*, as_json: bool, schema: bool) -> None:
    """Show the settings in force, and where each came from; asks no server.

    Prints a table on a terminal, else a line for each setting, with tabs between its name, its
    value, its source (environment, secret file, TOML file, default) and the file, if it is one.
    Of a URI it shows the hosts and the database, of other secrets nothing. Variables that look like
    a misspelt setting are named on standard error.

    With --schema it prints what an editor needs to check and complete a TOML file of settings.

    Ends with 2 when a setting is wrong.
    """
    if schema:
        click.echo(json.dumps(toml_schema(), indent=2))
        return
    in_force = settings_in_force(os.environ)
    for name, meant in near_misses(os.environ).items():
        click.echo(f"mnc: the variable {name} is no setting; is {meant} meant?", err=True)
    if as_json:
        click.echo(json_settings(in_force))
    elif sys.stdout.isatty():
        Console().print(terminal_settings(in_force))
    else:
        for line in plain_settings(in_force):
            click.echo(line)
