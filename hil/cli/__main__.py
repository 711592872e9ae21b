"""`python -m hil.cli` is `hil`."""

from hil.cli.main import run

run()
