"""Resolve the owner of each network namespace from collected facts."""
