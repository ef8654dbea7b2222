import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from tests.receiver import BROKEN, BUSY, LOST, Receiver

from fleetpulse.errors import UnauthenticatedError, UpstreamError
from fleetpulse.replay.checkpoint import Checkpoint, CheckpointFile
from fleetpulse.replay.pace import Pace
from fleetpulse.replay.player import IN_FLIGHT, Job, Player
from fleetpulse.replay.shape import shape_of
from fleetpulse.replay.source import look
from fleetpulse.replay.tally import Tally
from fleetpulse.sender import Sender

ROWS = 2_000
GIVEN = {"source": "web", "status": "success", "execution_time": "1"}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as one:
        yield one


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("input_tokens\n" + "".join(f"{number}\n" for number in range(ROWS)))
    return path


def job_of(file: Path, batch: int = 100, checkpoint: CheckpointFile | None = None) -> Job:
    source = look(file)
    return Job(source, shape_of(source, constants=GIVEN), Pace(batch_rows=batch), checkpoint)


async def play(receiver: Receiver, job: Job, patience: float = 60.0) -> Player:
    async with Sender(receiver.url, patience=patience) as sender:
        player = Player(sender, job)
        await player.play()
    return player


async def test_every_row_arrives_once_and_again_counts_as_duplicate(receiver: Receiver, file: Path) -> None:
    assert (await play(receiver, job_of(file))).tally == Tally(ROWS, ROWS, 0, 0)
    assert receiver.total("input_tokens") == sum(range(ROWS))
    assert (await play(receiver, job_of(file))).tally == Tally(ROWS, 0, ROWS, 0)
    assert len(receiver.stored) == ROWS


async def test_batches_in_flight_are_several_and_bounded(receiver: Receiver, file: Path) -> None:
    receiver.delay = 0.01
    await play(receiver, job_of(file, batch=50))
    assert 1 < receiver.most_in_flight <= IN_FLIGHT


async def test_faults_of_every_kind_change_no_total(receiver: Receiver, file: Path) -> None:
    receiver.faults.extend([BUSY, LOST, BROKEN, LOST, BUSY] * 3)
    tally = (await play(receiver, job_of(file))).tally
    assert tally.rows == tally.accepted + tally.duplicates == ROWS
    assert tally.duplicates >= 100, "batches were kept although their answer was lost"
    assert receiver.total("input_tokens") == sum(range(ROWS))


async def test_an_exporter_that_goes_and_returns_gets_every_row_once(receiver: Receiver, file: Path) -> None:
    receiver.delay = 0.005
    playing = asyncio.create_task(play(receiver, job_of(file, batch=20)))
    for _ in range(3):
        target = len(receiver.stored) + 100
        while len(receiver.stored) < target and not playing.done():  # noqa: ASYNC110 - the receiver has no event
            await asyncio.sleep(0.001)
        await receiver.leave()
        await receiver.listen()
    tally = (await asyncio.wait_for(playing, 60)).tally
    assert tally.rows == ROWS
    assert receiver.total("input_tokens") == sum(range(ROWS))


async def test_a_batch_that_is_too_large_is_halved(file: Path) -> None:
    async with Receiver(largest_batch=30) as receiver:
        assert (await play(receiver, job_of(file, batch=1_000))).tally.accepted == ROWS
        assert max(size for _, size in receiver.batches) <= 30


async def test_rejected_and_unreadable_rows_are_counted_and_the_first_explained(
    receiver: Receiver, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    good = '{"execution_time": 1}\n'
    path.write_text(
        good * 3 + '{"execution_time": "soon"}\n' + "nonsense\n" + good + '{"execution_time": []}\n' * 20
    )
    source = look(path)
    tally = (await play(receiver, Job(source, shape_of(source), Pace(batch_rows=4)))).tally
    assert (tally.rows, tally.accepted, tally.duplicates, tally.rejected) == (26, 4, 0, 22)
    assert len(tally.errors) == 10
    assert "row 4: execution_time: not a number" in tally.errors
    assert any(error.startswith("row 5: is not JSON") for error in tally.errors)


async def test_an_interrupted_replay_goes_on_where_it_stopped(
    receiver: Receiver, file: Path, tmp_path: Path
) -> None:
    checkpoint = CheckpointFile(tmp_path / "state" / "one.json")
    receiver.delay = 0.01
    playing = asyncio.create_task(play(receiver, job_of(file, 20, checkpoint)))
    while len(receiver.stored) < 500:  # noqa: ASYNC110 - the receiver has no event
        await asyncio.sleep(0.001)
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)
    assert checkpoint.load() is not None

    receiver.delay = 0.0
    player = await play(receiver, job_of(file, 20, checkpoint))
    assert player.resumed_at > 0
    assert player.resumed_at + player.tally.rows == ROWS
    assert receiver.total("input_tokens") == sum(range(ROWS))
    assert checkpoint.load() is None, "a finished replay leaves none"


async def test_a_checkpoint_is_not_believed_when_the_exporter_lost_what_it_had(
    receiver: Receiver, file: Path, tmp_path: Path
) -> None:
    checkpoint = CheckpointFile(tmp_path / "one.json")
    checkpoint.save(Checkpoint(position=1_500, probe=1_499))
    player = await play(receiver, job_of(file, 100, checkpoint))
    assert player.resumed_at == 0
    assert receiver.total("input_tokens") == sum(range(ROWS))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"position": "x"}'])
async def test_a_broken_checkpoint_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "one.json"
    path.write_text(content)
    assert CheckpointFile(path).load() is None


async def test_where_no_checkpoint_can_be_written_the_replay_goes_on(
    receiver: Receiver, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "blocked").write_text("a file where the folder should be")
    player = await play(receiver, job_of(file, 100, CheckpointFile(tmp_path / "blocked" / "one.json")))
    assert player.tally.accepted == ROWS


def test_different_replays_have_different_checkpoints(tmp_path: Path) -> None:
    one, same, other = (CheckpointFile.of(tmp_path, "http://x", name) for name in ("a", "a", "b"))
    one.save(Checkpoint(1, 0))
    assert same.load() == Checkpoint(1, 0)
    assert other.load() is None


async def test_a_wrong_credential_ends_the_replay(file: Path) -> None:
    async with Receiver(status=401) as receiver:
        with pytest.raises(UnauthenticatedError):
            await play(receiver, job_of(file))


async def test_something_that_is_not_fleetpulse_is_found_out(receiver: Receiver, file: Path) -> None:
    class Stranger(Sender):
        async def post(
            self, path: str, payload: object, query: Mapping[str, str] | None = None
        ) -> dict[str, object]:
            await super().post(path, payload, query)
            return {"hello": "world"}

    async with Stranger(receiver.url) as sender:
        with pytest.raises(UpstreamError, match="is it Fleetpulse"):
            await Player(sender, job_of(file)).play()
