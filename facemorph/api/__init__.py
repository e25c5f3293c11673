"""The Python front door: `import facemorph as fm`. Arrays and paths in, arrays and dataclasses out.

An image is a path or a uint8 RGB array [H, W, 3]. Nothing is printed; progress bars are off unless `progress=True`.
Every error that a caller can cause is a `facemorph.errors.FacemorphError`, in the words of the command line.
"""
