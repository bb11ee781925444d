"""The verbs of the package for Python: the function NAME of each file NAME.py. The command line calls them too."""
