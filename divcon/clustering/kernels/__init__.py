"""Compiled loops over rows of features, for k-means and nearest neighbors on a CPU.

Products in low precision propose candidates, and exact sums choose among them. Loops that only propose are compiled
with `fast_math`: the compiler may add in any order, because the error bounds allow for that rounding. Loops that choose
are compiled with `compiled`: they add in one fixed order that depends on no thread and no vector width. They use
float64 to compare centroids, and float32 to compare neighbors.

Row i has the value x[i] * inverse[i], rounded to float32. `inverse` is 1 / length for unit rows, and 1 otherwise. Inner
functions take a matrix and a row number, never a slice: each slice changes a reference count that all threads share.
"""
