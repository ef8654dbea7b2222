"""OpenTelemetry's protocol (OTLP): what is common to taking signals in and sending them out."""
