"""Faces in images: found, aligned, described, warped and averaged."""
