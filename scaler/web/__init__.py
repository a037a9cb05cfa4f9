"""The scaler's HTTP surface: metrics, health, the API, and the status page.

Imports loop, policy, prometheus.
"""
