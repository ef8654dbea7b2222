"""Backups of the journal while it is in use, their folder, and bringing one back."""

from fleetpulse.journal.backup.contents import Contents
from fleetpulse.journal.backup.folder import Backup, Manifest, backups, read_manifest
from fleetpulse.journal.backup.making import Made, make_at, make_in, verify
from fleetpulse.journal.backup.restoring import Loss, Restored, ensure_unused, loss, restore
from fleetpulse.journal.backup.schedule import Backups
from fleetpulse.journal.backup.watch import BackupError, Stage, StoppedError, Watch

__all__ = [
    "Backup",
    "BackupError",
    "Backups",
    "Contents",
    "Loss",
    "Made",
    "Manifest",
    "Restored",
    "Stage",
    "StoppedError",
    "Watch",
    "backups",
    "ensure_unused",
    "loss",
    "make_at",
    "make_in",
    "read_manifest",
    "restore",
    "verify",
]
