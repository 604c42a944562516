"""Naive workloads against one composed of clients, at the same rate."""
