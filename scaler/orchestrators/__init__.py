"""Backends that run workers. Each is one module, found by its name and imported when configured."""
