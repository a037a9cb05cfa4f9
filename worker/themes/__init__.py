"""The shipped themes, one folder each."""
