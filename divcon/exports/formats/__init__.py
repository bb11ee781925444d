"""The formats of exports: one file for each, found by its name."""
