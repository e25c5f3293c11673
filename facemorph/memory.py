"""Memory that this process frees is kept for its next tensors, instead of being given back to the system.

The system hands memory out page by page, which takes longer than much of what is computed in it. These are settings of
glibc (malloc.h); with another C library nothing happens.
"""

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
LARGEST_KEPT = 32 << 20  # bytes; glibc takes no larger M_MMAP_THRESHOLD
FREE_KEPT = 512 << 20
TOP_PAD = 64 << 20  # asked for beyond what is needed


def keep_freed() -> None:
    """For short work on small networks, many times: fresh pages cost a fifth of the time to align a face."""
    _mallopt((M_MMAP_THRESHOLD, LARGEST_KEPT), (M_TRIM_THRESHOLD, FREE_KEPT))


def keep_all_freed() -> None:
    """For training: blocks above 32 MB too, which glibc otherwise returns at once. They cost 4 % of a train step."""
    _mallopt((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, TOP_PAD))


def _mallopt(*settings: tuple[int, int]) -> None:
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in settings:
            mallopt(name, value)
