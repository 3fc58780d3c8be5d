"""
Render snapshots as the exposition, the body of /metrics. Pure.

- `metrics`: the table of all metrics
- `renderer`: from an encoded snapshot to chunks, keeping what is unchanged
- `namespace_series`, `signal_series`, `node_series`: the series of the values of a
  namespace, of its signals, and of the node
- `samples`: labels and numbers; `text_format`: samples as lines
- `series_limit`: less of some namespaces where max_series requires it
- `unnamed_budget`: how many namespaces without a name of their own are exported
- `unchanged`, `chunk_table`, `incremental_gzip`: what is kept between scrapes: encoded
  namespaces, chunks of lines, their compressed form
"""
