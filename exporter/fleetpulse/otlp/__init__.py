"""OpenTelemetry's protocol (OTLP): bytes of an export request to request logs, and what is common to both ways.

Knows no HTTP and stores nothing. `wire_protobuf` and `wire_json` read the two encodings into the same plain spans
and log records (`plain`), in steps that hold up nobody. `calls` finds those that stand for one call of a model
(`vocabulary` has every name it knows) and says of each what a request log says; `intake` validates that, and keeps
account of what was ignored and refused. `reply` writes the answers.
"""
