"""Studies, one folder each with a README of what it shows."""
