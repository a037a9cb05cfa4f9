"""The scaler's own policy, and its peers, over job traces: what would it have cost?

Imports `policy`, and `prometheus` for a trace of one's own past. Needs no running part.
"""
