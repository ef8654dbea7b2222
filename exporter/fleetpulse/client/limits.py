"""The bounds of one monitor, checked once."""

from dataclasses import dataclass, fields

MOST_RECORDS = 10_000  # the server's limits.batch_items


@dataclass(frozen=True)
class Bounds:
    """Records, bytes and seconds; each must be above zero. Raises ValueError that names the one that is not."""

    queue_size: int = 10_000
    spool_bytes: int = 64 * 2**20
    memory_bytes: int = 8 * 2**20
    batch_size: int = 500
    interval: float = 0.2
    timeout: float = 10.0
    exit_timeout: float = 3.0
    fsync: bool = False

    def __post_init__(self) -> None:
        for each in fields(self):
            if each.name != "fsync" and not getattr(self, each.name) > 0:
                raise ValueError(f"{each.name} must be above zero")
        if self.batch_size > MOST_RECORDS:
            raise ValueError(f"batch_size must be at most {MOST_RECORDS}")
