"""`python -m retrograd` is the command line."""

from retrograd.cli import main

if __name__ == "__main__":
    main()
