"""`python -m emigbench`: the command line where the program `emigbench` is not on the path."""

from emigbench.cli import main

if __name__ == "__main__":  # a worker that is spawned reads this file, too
    main()
