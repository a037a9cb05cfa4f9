"""What a person types: look at a running scaler and act on it, check a file, replay jobs.

May import every room but `__main__`; each command does so when it is called.
"""
