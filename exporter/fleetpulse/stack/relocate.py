"""Makes Debian's Alertmanager run from the folder it was unpacked into.

Debian's build reads its default templates and its web page from /usr/share, a path that is compiled in and that no
option changes; without them it ends at its start. So the path is replaced by one of the same length that leads
through an open file descriptor, and a script in the program's place opens that descriptor on the unpacked folder.
The folder may be moved. A program without the path (another distribution's, a later one) is left as it is.
"""

from pathlib import Path

COMPILED_IN = b"/usr/share/prometheus/alertmanager"
DESCRIPTOR = 9
LAUNCHER = f"""#!/bin/sh
# Shows Alertmanager its templates, which it would look for in /usr/share.
here=$(dirname "$(readlink -f "$0")")
exec {DESCRIPTOR}<"$here/../share/prometheus/alertmanager"
exec "$here/../lib/fleetpulse/prometheus-alertmanager" "$@"
"""


def relocate(root: Path) -> None:
    """Relocates Alertmanager below `root`, where packages are unpacked as in `/`. Raises OSError."""
    program = root / "usr" / "bin" / "prometheus-alertmanager"
    if not program.is_file() or COMPILED_IN not in (content := program.read_bytes()):
        return
    through = f"/proc/self/fd/{DESCRIPTOR}".encode().ljust(len(COMPILED_IN), b"/")
    moved = root / "usr" / "lib" / "fleetpulse" / program.name
    moved.parent.mkdir(parents=True, exist_ok=True)
    program.replace(moved)  # keeps its mode
    moved.write_bytes(content.replace(COMPILED_IN, through))
    program.write_text(LAUNCHER)
    program.chmod(0o755)
