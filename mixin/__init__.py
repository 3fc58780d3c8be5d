"""Rules and dashboards, made from code: `python -m mixin` writes them."""
