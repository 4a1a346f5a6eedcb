"""How many rows are in memory at a time while samples pass through."""

CHUNK_ROWS = 4096
CHUNK_BYTES = 8 << 20


def chunk_rows(bytes_of_row: int) -> int:
    """As many rows as fit into :data:`CHUNK_BYTES`: at least 1, at most :data:`CHUNK_ROWS`.

    Example:
        >>> chunk_rows(80), chunk_rows(3 * 224 * 224 * 8)
        (4096, 6)
    """
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(1, bytes_of_row)))
