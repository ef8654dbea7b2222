"""Numbers as people read them. None is a dash: there is nothing to tell."""

from fleetpulse.query.report import Change

DASH = "–"
MINUS = "−"
CENTS_FROM = 0.1  # USD; what is less is shown to a hundredth of a cent
SHORT_FROM = 1e7
MINUTE = 60.0
TENTH = 0.001
FULL = 0.9995  # from here on "100.0 %" would hide that something failed


def whole(value: float) -> str:
    """12,345."""
    return f"{value:,.0f}".replace("-", MINUS)


def short(value: float) -> str:
    """3,206,000, but 32.1 M: a card has little room."""
    if value < SHORT_FROM:
        return whole(value)
    size, letter = (1e9, "G") if value >= SHORT_FROM * 100 else (1e6, "M")
    return f"{value / size:,.1f} {letter}"


def usd(value: float | None) -> str:
    """$12.35, or $0.0042 where it is less than ten cents."""
    if value is None:
        return DASH
    digits = 2 if abs(value) >= CENTS_FROM or value == 0 else 4
    return f"{MINUS if value < 0 else ''}${abs(value):,.{digits}f}"


def percent(ratio: float | None) -> str:
    """98.2 %. Only what is whole is said to be: a failure in a million leaves 99.9 %."""
    if ratio is None:
        return DASH
    if FULL <= ratio < 1:
        return "99.9 %"
    if 0 < ratio < TENTH / 2:
        return "< 0.1 %"
    return f"{ratio * 100:,.1f} %".replace("-", MINUS).replace(".0 %", " %")


def seconds(value: float | None) -> str:
    """1.4 s, or 350 ms, or 2 min 5 s."""
    if value is None:
        return DASH
    if value < 1:
        return f"{value * 1_000:.0f} ms"
    if value < MINUTE:
        return f"{value:.2f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{whole(minutes)} min {rest} s"


def signed(change: Change) -> str:
    """+12.3 % or −4 %; past tenfold, how many times as much; empty where there is no ratio."""
    if change.ratio is None:
        return ""
    if change.ratio >= 10:  # noqa: PLR2004 - "+4,200 %" says less than "43×"
        return f"{change.ratio + 1:,.0f}×"
    sign = "+" if change.ratio > 0 else MINUS if change.ratio < 0 else "±"
    return sign + percent(abs(change.ratio))


def points(change: Change) -> str:
    """+1.2, the difference of two rates in percentage points."""
    sign = "+" if change.absolute > 0 else MINUS if change.absolute < 0 else "±"
    return f"{sign}{abs(change.absolute) * 100:.1f}"
