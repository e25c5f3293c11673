"""Published weights: their cards, the cache folder, downloads. Independent of what the networks are."""
