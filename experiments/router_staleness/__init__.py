"""Routers that see the instances 50 or 500 ms late, or go by a prefix index of their own."""
