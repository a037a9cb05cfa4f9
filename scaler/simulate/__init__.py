"""Replays job traces through the scaler's own policy, beside the peers, and scores them.

Imports policy, prometheus.
"""
