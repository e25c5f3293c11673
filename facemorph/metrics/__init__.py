"""How near two pictures are: pixels, structure, and what a network for seeing makes of them."""
