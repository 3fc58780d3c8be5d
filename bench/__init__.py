"""
CPU time of a scrape, compared with other ways to read the same; with cold caches.

    python -m bench                               all, with 110 to 1,000 namespaces
    python -m bench N …                           with N namespaces
    python -m bench --check                       only the promised ratios
    python -m bench --write docs/performance.md   all, into the document
    python -m bench --fleet --write docs/fleet.md cost of a fleet in Prometheus

It creates real network namespaces with 5 listeners each, and needs root and a C
compiler. It fails if a ratio of two measurements of the run is worse than promised.
"""
