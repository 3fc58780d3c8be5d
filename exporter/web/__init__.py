"""
HTTP, in the server process.

A connection is accepted by `connections` with the TLS context of `tls`, and speaks HTTP
by `protocol`; `eviction` chooses the one to close when there are too many. `app`
authenticates its requests with `auth` and routes them. Scrapes and pages wait in
`scrape_queue` for a collection, from which `responses` makes their bodies;
`negotiation` parses what a scrape requests. `peers` shares both waits between
addresses. `stats` counts.
"""
