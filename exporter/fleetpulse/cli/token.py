"""`fleetpulse token`: app keys for programs, JSON Web Tokens for people."""

import secrets
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from fleetpulse.auth import Role, keys, tokens
from fleetpulse.cli import options

app = typer.Typer(
    name="token",
    help="Make, list and revoke credentials. The first one switches credentials on for every caller.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
SECRET_BYTES = 32
KEY_CHARACTERS = 16


@app.command("key")
def make_key(
    name: Annotated[str, typer.Option(help="What it is for; shown in lists and logs.")],
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.REPORTER,
    pool: Annotated[str | None, typer.Option(help="Agent pool of heartbeats that name none themselves.")] = None,
    data_dir: options.DataDir = None,
    config: options.ConfigFile = None,
) -> None:
    """Make an app key and show its secret, once.

    A running exporter takes it within a second. The secret is kept only as a hash: what is lost is made anew.

    **Examples**

    - `fleetpulse token key --name telegram-bot`
    - `fleetpulse token key --name workers --role reporter --pool coding`
    """
    settings = options.load(config, data_dir=data_dir)
    key, secret = keys.create(settings.app_keys_path, name=name, role=role, pool_id=pool)
    typer.echo(f"X-App-Key: {key}")
    typer.echo(f"X-App-Secret: {secret}")
    typer.echo(f"Authorization: Bearer {keys.bearer(key, secret)}")
    typer.echo(
        "Send the first two headers, or the third in their place. Fleetpulse's own commands read "
        "FLEETPULSE_APP_KEY and FLEETPULSE_APP_SECRET. The secret is not shown again.",
        err=True,
    )


@app.command("list")
def list_keys(data_dir: options.DataDir = None, config: options.ConfigFile = None) -> None:
    """List the app keys, without their secrets."""
    settings = options.load(config, data_dir=data_dir)
    # A key must be whole to be of use: `fleetpulse token revoke KEY`.
    table = Table(Column("Key", no_wrap=True, min_width=KEY_CHARACTERS), "Name", "Role", "Pool", "Made", "State")
    for one in keys.list_keys(settings.app_keys_path):
        state = f"revoked {one.revoked_at:%Y-%m-%d %H:%M}" if one.revoked_at else "in use"
        table.add_row(one.key, one.name, one.role, one.pool_id or "-", f"{one.created_at:%Y-%m-%d %H:%M}", state)
    Console().print(table if table.rows else f"There are no app keys in {settings.app_keys_path}.")


@app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(help="The key, as `fleetpulse token list` shows it.")],
    data_dir: options.DataDir = None,
    config: options.ConfigFile = None,
) -> None:
    """Revoke an app key; a running exporter refuses it within a second."""
    settings = options.load(config, data_dir=data_dir)
    keys.revoke(settings.app_keys_path, key)
    typer.echo(f"{key} is revoked.")


@app.command("jwt")
def make_jwt(
    subject: Annotated[str, typer.Option(help="Whom it is for.")],
    role: Annotated[list[Role] | None, typer.Option(help="What it may do; may be given again.")] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=87_600, help="How long it is valid.")] = 12.0,
    session: Annotated[
        list[str] | None, typer.Option(help="Chat session it may enter; may be given again; `*` is all.")
    ] = None,
    config: options.ConfigFile = None,
) -> None:
    """Print a JSON Web Token, signed with the configured HS256 secret.

    **Examples**

    - `fleetpulse token jwt --subject alice --role operator --hours 8`
    - `fleetpulse token jwt --subject bob --session support-7 --session support-8`
    - `curl -H "Authorization: Bearer $(fleetpulse token jwt --subject me)" localhost:8001/metrics`
    """
    settings = options.load(config)
    roles, lifetime = role or [Role.VIEWER], timedelta(hours=hours)
    typer.echo(tokens.issue(settings.auth, subject=subject, roles=roles, lifetime=lifetime, sessions=session or ()))


@app.command("secret")
def make_secret() -> None:
    """Print a fresh random secret for signing tokens.

    **Example**

    - `(umask 077; fleetpulse token secret > jwt.secret)`
    - `FLEETPULSE_AUTH__JWT_SECRET_FILE=jwt.secret fleetpulse serve`
    """
    typer.echo(secrets.token_hex(SECRET_BYTES))
