"""Autoscalers over a day-shaped load against the smallest static fleet; see README.md."""
