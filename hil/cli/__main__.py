"""`python -m hil.cli` is `hil`."""

from hil.cli.main import run

# guarded: a spawned learner process imports the main module again
if __name__ == "__main__":
    run()
