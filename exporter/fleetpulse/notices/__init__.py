"""Notifications to people: levels, channels, quiet hours, once each."""
