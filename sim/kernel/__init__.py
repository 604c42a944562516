"""The compiled data plane. Nothing in here imports anything outside this package."""
