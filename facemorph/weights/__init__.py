"""Published weights: their entries, the cache folder, and how a file gets there. Knows no network."""
