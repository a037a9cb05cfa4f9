"""The commands by which a person looks at a running scaler and acts on it.

Imports config, policy, prometheus, simulate.
"""
