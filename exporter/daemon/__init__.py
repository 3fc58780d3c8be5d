"""The main function of each process of `serve`: collector, server, runtime poller."""
