"""What Prometheus answers, as signals that are known, or unknown with a reason.

Imports policy.
"""
