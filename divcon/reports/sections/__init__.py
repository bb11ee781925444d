"""The sections of the page, one file for each: from the facts of a run to paragraphs, plots, tables and galleries."""
