"""The networks of StyleGAN 1 and 2: an architecture, and modules that run it."""
