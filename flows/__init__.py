"""What a user starts: one file per flow; :mod:`flows.cli` is the command line."""
