"""What one does with the package: the verbs of the command line, for Python."""
