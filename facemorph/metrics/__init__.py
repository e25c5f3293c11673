"""Metrics between images (PSNR, SSIM, LPIPS) and between sets of images (Frechet and kernel distance, coverage)."""
