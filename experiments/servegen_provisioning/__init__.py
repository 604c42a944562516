"""Fleets planned with naive and with client-composed workloads, tested on client traffic that neither has seen."""
