"""Clients that come back to a journal that was brought back from a backup: another stream, and told so."""

import asyncio
from pathlib import Path

from tests.journal.stand import at_work, requests
from tests.live.pipe import Pipe

from fleetpulse.config import Live
from fleetpulse.instruments import Instruments
from fleetpulse.journal import REQUESTS
from fleetpulse.journal.backup import Watch, make_in, restore
from fleetpulse.journal.history import REQUEST_STREAM, JournalHistory
from fleetpulse.live import EVENT, Hub, LiveEncoder


async def test_a_position_before_the_restore_is_none_after_it(tmp_path: Path) -> None:
    path, folder = tmp_path / "data" / "journal.db", tmp_path / "backups"
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests("abc"))
        backup = await asyncio.to_thread(make_in, folder, path, 7, Watch())
        await stand.journal.store(REQUESTS, requests("de"))
        position = {stand.journal.epoch: 4}
    await asyncio.to_thread(restore, backup.path, path, Watch())
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests("xyz"))  # ids 4 to 6 again, of other rows
        hub, pipe = Hub(Live(), Instruments(), clock=lambda: 0.0, timer=lambda: 0.0), Pipe()
        hub.declare("requests", EVENT, history=JournalHistory(stand.journal, REQUEST_STREAM))
        hub.subscribe(hub.connect(pipe, "test"), "requests", LiveEncoder(), resume=position)
        hub.flush()
        answer, gap = pipe.read()
        assert (answer["recovered"], answer["epoch"], answer["offset"]) == (False, stand.journal.epoch, 6)
        assert (gap["type"], gap["epoch"], gap["from"], gap["to"]) == ("gap", stand.journal.epoch, 1, 6)
