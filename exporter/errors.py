"""Errors that more than one package raises or handles."""


class ConfigError(ValueError):
    """A configuration that cannot be used; says where and what to do."""
