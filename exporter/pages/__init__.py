"""
The HTML pages. Pure, except that `render` reads the templates.

- `query`: from a URL to a request; `urls`: the URLs of namespaces
- `node_page`, `namespace_table`, `namespace_page`, `catalog_page`: the content of each
  page, built from the same assessment and sentences as on the terminal
- `charts`: histograms and bars as numbers
- `render` and templates/: the only place with HTML
"""
