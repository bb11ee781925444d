"""The instrument that all studies share: collections, processes, scores, rows, tables."""
