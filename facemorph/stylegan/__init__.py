"""Published StyleGAN generators: read without running what is inside, run exactly in plain PyTorch."""
