"""From latents to other latents: morphs, directions, children."""
