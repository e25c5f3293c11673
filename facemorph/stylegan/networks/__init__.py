"""The networks of StyleGAN and StyleGAN2: the architecture, and the modules that run it."""
