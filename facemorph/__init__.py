"""Face morphing with GANs, as a command-line research toolkit."""

__version__ = "0.1.0"
