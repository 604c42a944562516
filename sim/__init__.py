"""ServeSim: a discrete-event simulator of GPU clusters that serve language models."""
