"""The command line; one file per group of commands."""

from flows.cli.app import main

__all__ = ["main"]
