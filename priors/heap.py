"""Memory that is freed at once: blocks of tensors apart from the C library's heap."""

import ctypes

BLOCK = 2**16  # bytes: smaller blocks stay in the heap; of larger ones the gaps were as much again
M_MMAP_THRESHOLD = -3  # of malloc.h


def separate_blocks() -> bool:
    """Have glibc take blocks of 64 kB or more from the system one by one, and give them back when they are freed.

    By default it puts blocks of up to 32 MB into its heap once some were freed, where the tensors of a network leave
    gaps between them: up to twice the memory. For processes of our own, such as those of the command line; in
    others set MALLOC_MMAP_THRESHOLD_=65536 in the environment before they start.
    Returns: whether this C library has such a setting.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, BLOCK))
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return False
