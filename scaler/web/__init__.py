"""The scaler's HTTP surface: metrics, health, the API, and the status page.

Imports loop, orchestrators, policy, prometheus.
"""
