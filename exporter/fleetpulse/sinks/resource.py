"""Who sends: the attributes of the resource behind every log record and span (OpenTelemetry's `service.*`)."""

import uuid
from collections.abc import Mapping
from contextlib import closing

import fleetpulse
from fleetpulse.journal import Journal, SaveNote, read_note

NOTE = "service-instance-id"
INSTANCE = "service.instance.id"


def describe(journal: Journal, given: Mapping[str, str]) -> dict[str, str]:
    """The attributes as they are configured, with version and instance where these are not among them.

    The instance is the journal: its id is made up once and kept there (`keep`), so that restarts do not look like
    new exporters, and replicas are told apart.
    """
    with closing(journal.reader()) as reader:
        kept = read_note(reader, NOTE)
    instance = kept.decode() if kept else str(uuid.uuid4())
    return {"service.version": fleetpulse.__version__, INSTANCE: instance, **given}


async def keep(journal: Journal, attributes: Mapping[str, str]) -> None:
    """Keeps the instance's id for the next start. Raises OverloadedError where it cannot be kept now."""
    await journal.submit(SaveNote({}, NOTE, attributes[INSTANCE].encode()))
