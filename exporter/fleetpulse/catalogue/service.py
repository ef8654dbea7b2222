"""The service itself."""

from fleetpulse.catalogue.metric import metric

HTTP_REQUESTS = metric("http_requests_total", "counter", "HTTP requests answered.", ("route", "code"))
LOOP_LAG = metric("event_loop_lag_seconds", "gauge", "Worst delay of the event loop since the last scrape.")
BUILD_INFO = metric("build_info", "gauge", "Always 1; version of the running exporter.", ("version", "python"))
