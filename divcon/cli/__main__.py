"""`python -m divcon.cli` is `divcon`."""

from . import main

main()
