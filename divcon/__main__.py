"""`python -m divcon` is `divcon`."""

from .cli import main

if __name__ == "__main__":
    main()
