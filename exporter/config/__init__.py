"""
The configuration.

`settings` merges defaults, the YAML file and the flags of `flags`; `yaml_decoder`
decodes YAML within limits. The web configuration has a file of its own: `web_watcher`
reads and follows it in the collector process, `web_file` parses it, `web_changes`
compares it with the one in use, and `web` is the form in which the server receives it.
"""
