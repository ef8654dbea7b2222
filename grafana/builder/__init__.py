"""The dashboards as code. `python -m grafana.builder` renders them into `grafana/dashboards/`.

    promql.py     how numbers are asked for: exact growth of counters, filters by the dashboard's variables
    panels.py     one function per kind of panel, with the looks they all share
    frame.py      what surrounds the panels: variables, annotations, links, layout, JSON
    logs.py       panels of single requests, from Loki
    requests.py   the dashboard "Requests and cost"
    agents.py     the dashboard "Agent pools"

Metric names come from the exporter's catalogue and stand nowhere here. A test renders the dashboards again and
compares, so editing the JSON by hand fails the build.
"""
