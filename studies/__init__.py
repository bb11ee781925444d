"""Studies: a file here is a table of runs, written as plain Python. `python -m studies NAME` does them and keeps a row of
each; `python -m studies NAME draw` writes docs/results/NAME.md from the rows alone."""
