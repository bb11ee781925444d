"""Exports: an encoder in the files of other libraries, loaded back by them and compared."""
