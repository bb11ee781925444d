"""The command line, as `python -m divcon`."""

from .cli import main

if __name__ == "__main__":
    main()
