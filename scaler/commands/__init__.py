"""What a person types: look at a running scaler and act on it, check a file, replay jobs.

Imports config, policy, prometheus, run, simulate.
"""
