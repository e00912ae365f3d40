"""`python -m mnc`, and the `mnc` that the package installs."""

from __future__ import annotations

import sys

from mnc.cli import run

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run())


if __name__ == "__main__":
    main()
