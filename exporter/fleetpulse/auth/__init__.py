"""Who is calling: app keys, JSON Web Tokens and roles, turned into a `Principal`.

Promises: secrets are compared in constant time, kept hashed where Fleetpulse makes them, and never appear in
errors, logs or reprs. Refuses: to know HTTP; `web/guard.py` reads headers and enforces roles.
"""

from fleetpulse.auth.authenticator import Authenticator, ensure_safe
from fleetpulse.auth.principal import ANONYMOUS, Credentials, Principal, Role

__all__ = ["ANONYMOUS", "Authenticator", "Credentials", "Principal", "Role", "ensure_safe"]
