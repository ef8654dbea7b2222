"""Replay: sends a CSV or JSONL file of request logs through the API, at any speed.

A file becomes records (`source`), records become request logs (`shape`), request logs become batches that are due
at some moment (`pace`), and batches are sent several at a time (`player`). Every row has a stable `request_id`
made from the file's content, so that sending a row again changes no total: that alone makes a replay resumable.
The checkpoint (`checkpoint`) only saves the time of sending again.
"""
