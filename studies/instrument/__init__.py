"""What every study is done with: collections, processes, scores, rows, tables."""
