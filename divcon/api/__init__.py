"""The verbs of the package for Python: the function NAME of each file NAME.py. The command line calls them too."""

from ..spinning import limit_spinning

limit_spinning()  # here, because this file is read before any verb, and so before torch; `import divcon` alone sets nothing
