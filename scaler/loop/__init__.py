"""The running scaler: observe, decide, apply, record, and what survives a restart.

Imports orchestrators, policy, prometheus.
"""
