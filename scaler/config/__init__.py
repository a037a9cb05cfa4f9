"""What the scaler is told: read, checked, shown with its origin, and read anew when it changes.

Imports external, loop, orchestrators, policy, web.
"""
