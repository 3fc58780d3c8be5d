"""
What a scrape costs, beside other ways to read the same; in CPU time, cold caches.

    python -m bench                               everything, 110 to 1,000 namespaces
    python -m bench N …                           only N namespaces
    python -m bench --check                       only what is promised
    python -m bench --write docs/performance.md   everything, into the document
    python -m bench --fleet --write docs/fleet.md what a fleet costs Prometheus

It makes real network namespaces with 5 listeners each, and needs root and a C compiler.
It fails where something is worse than promised, as a ratio in one run.
"""
