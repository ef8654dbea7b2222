"""The section about backups of the journal."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from fleetpulse.config.sections import Section


class Backup(Section):
    """Copies of the journal, made while it is in use."""

    hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        24.0, description="How often one is made by itself; 0: never."
    )
    folder: Path | None = Field(None, description="Where they are put; default: `backups` in the data folder.")
    keep: Annotated[int, Field(gt=0, le=1_000)] = Field(7, description="How many are kept; the oldest go.")
