"""
Attack a running exporter for a while, scrape it every second, and check its promises.

    python -m bench.soak 30m                                all attacks
    python -m bench.soak 30m --attacks churn,fuse           some of them
    python -m bench.soak 30m --write docs/reliability.md    into the document

It needs root, and runs in namespaces of its own (PID, mount, network and others). It
fails if a promise is broken, and prints every failed scrape when it happens.
"""
