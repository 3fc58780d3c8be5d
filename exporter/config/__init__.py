"""The configuration: YAML file, flags and the web configuration file."""
