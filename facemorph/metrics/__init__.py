"""How near two images are: pixels, structure, and what a network for seeing makes of them."""
