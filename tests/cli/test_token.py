import re
from pathlib import Path
from urllib.error import HTTPError

from tests.cli.conftest import Run
from tests.system.harness import Exporter, get, post, wait_for

LOG = {"request_id": "a", "source": "web", "status": "success", "execution_time": 1}


def status(url: str, headers: dict[str, str] | None = None) -> int:
    try:
        get(url, headers)
    except HTTPError as error:
        with error:
            return error.code
    return 200


def test_keys_are_made_used_listed_and_revoked(run: Run, exporter: Exporter) -> None:
    settings = {"FLEETPULSE_DATA_DIR": str(exporter.data_dir)}
    assert status(f"{exporter.url}/metrics") == 200
    made = run("token", "key", "--name", "bot one", "--pool", "coding", **settings)
    assert made.returncode == 0
    key, secret = re.findall(r"X-App-(?:Key|Secret): (\S+)", made.stdout)
    wait_for(lambda: status(f"{exporter.url}/metrics") == 401, what="credentials being asked for")

    with_key = {"FLEETPULSE_APP_KEY": key, "FLEETPULSE_APP_SECRET": secret, "FLEETPULSE_URL": exporter.url}
    assert run("demo", **with_key).returncode == 0
    refused = run("demo", FLEETPULSE_URL=exporter.url)
    assert refused.returncode == 1
    assert "credentials" in refused.stderr

    listed = run("token", "list", **settings).stdout
    for part in (key, "bot one", "reporter", "coding", "in use"):
        assert part in listed
    assert secret not in listed

    assert run("token", "revoke", key, **settings).returncode == 0
    assert "revoked" in run("token", "list", **settings).stdout
    headers = {"X-App-Key": key, "X-App-Secret": secret}
    wait_for(lambda: post(f"{exporter.url}/api/log-request", LOG, headers)[0] == 401, what="the key being refused")


def test_a_narrow_terminal_shows_keys_whole(run: Run, tmp_path: Path) -> None:
    settings = {"FLEETPULSE_DATA_DIR": str(tmp_path), "COLUMNS": "60"}
    name = "a name that takes much more room than there is"
    made = run("token", "key", "--name", name, "--role", "operator", "--pool", "a-pool-of-its-own", **settings)
    key = re.findall(r"X-App-Key: (\S+)", made.stdout)[0]
    assert key in run("token", "list", **settings).stdout


def test_revoking_an_unknown_key_fails_in_words(run: Run) -> None:
    said = run("token", "revoke", "nothing")
    assert said.returncode == 1
    assert "no app key 'nothing'" in said.stderr


def test_a_jwt_opens_what_its_role_may(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "jwt.secret"
    secret.write_text(run("token", "secret").stdout)
    settings = {"FLEETPULSE_AUTH__JWT_SECRET_FILE": str(secret)}
    exporter = Exporter(tmp_path / "exporter", **settings)
    try:
        exporter.start()
        made = run("token", "jwt", "--subject", "me", "--role", "viewer", "--hours", "1", **settings)
        assert made.returncode == 0
        headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
        assert status(f"{exporter.url}/metrics") == 401
        assert status(f"{exporter.url}/metrics", headers) == 200
        assert post(f"{exporter.url}/api/log-request", LOG, headers)[0] == 403
    finally:
        exporter.stop()


def test_without_a_secret_no_jwt_is_made(run: Run) -> None:
    said = run("token", "jwt", "--subject", "me")
    assert said.returncode == 2
    assert "FLEETPULSE_AUTH__JWT_SECRET_FILE" in said.stderr
    assert said.stdout == ""


def test_secrets_are_long_and_new_each_time(run: Run) -> None:
    first, second = run("token", "secret").stdout.strip(), run("token", "secret").stdout.strip()
    assert len(first) == 64
    assert first != second
