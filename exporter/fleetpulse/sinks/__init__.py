"""What is stored, handed on: requests, alerts and recorded messages as OTLP log records; and own spans.

variables.py   OpenTelemetry's standard variables: where to, as whom, with which credentials
resource.py    who sends: name, version, and an id that stays
records.py     rows as log records
delivery.py    one batch over HTTP, and what the answer means
otlp.py        the follower: reads on in the journal, sends, remembers how far it came
spans.py       the tracer behind the exporter's own spans
outlets.py     what is configured of these, started and stopped
"""
