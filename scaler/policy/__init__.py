"""How many workers, and why. Pure: no clock, no I/O; the ground floor, which all others import.

Imports no other room.
"""
