"""Silences in Alertmanager: how one alert is told to be dealt with.

Source: Alertmanager's API v2, `postableSilence`.
"""

from datetime import UTC, datetime

from fleetpulse.query.alertmanager import Alertmanager, FiringAlert


async def silence(alertmanager: Alertmanager, alert: FiringAlert, until: float, by: str, comment: str) -> str:
    """Silences exactly this alert until a time (Unix seconds); the silence's id. Raises UpstreamError."""
    matchers = [
        {"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in alert.labels.items()
    ]
    answer = await alertmanager.send(
        "/api/v2/silences",
        {
            "matchers": matchers,
            "startsAt": datetime.now(UTC).isoformat(),
            "endsAt": datetime.fromtimestamp(until, UTC).isoformat(),
            "createdBy": by,
            "comment": comment,
        },
    )
    made = answer.get("silenceID") if isinstance(answer, dict) else None
    if not isinstance(made, str):
        raise alertmanager.failed("answered something else than a silence's id")
    return made
