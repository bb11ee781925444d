"""Files on disk: atomic writes, hashes, paths, the cache folder, and text that is safe to show."""
