from tests.cluster.conftest import redis
from tests.web.conftest import admin_serve

__all__ = ["admin_serve", "redis"]
