"""From images to latents: alignment, loss, optimisation, encoder."""
