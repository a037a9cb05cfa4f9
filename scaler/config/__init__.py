"""The configuration: read and checked, shown with origins, put in force when it changes.

Imports what it configures: `web`, `loop`, `orchestrators` and `policy`; only `run` and
`commands` import it.
"""
