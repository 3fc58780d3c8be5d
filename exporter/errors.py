"""
All exceptions of the exporter, and the definition of those that packages share.

Any other exception is defined where it is raised. Below its base class each has its
module, its meaning, and what handles it:

Exception
    CollectionFailedError (privsep.channel): the collector replied that it could not
        collect a snapshot. web.app responds with 503.
    EntryDeniedError (kernel.netns): the kernel or a security module refuses to enter a
        namespace. collector.namespace_tracker reports it as `unreadable`.
    EventsError (runtimes.docker): Docker's stream of events cannot be opened; opened
        again later, since a poll reports the failure.
    ForeignFileError (runtimes.records): a runtime's file names one that lies elsewhere.
        files.bundle_directory leaves the container to the file reader.
    NetnsGoneError (kernel.netns): the namespace, or the process to enter it through,
        ended. discovery.entry tries another process, collector.namespace_tracker
        removes the namespace.
    PageFailedError (web.responses): a bug in a page. web.app responds with 500.
    PeerGoneError (privsep.channel): the other process ended or broke the protocol.
        daemon.collector_process and daemon.server_process exit.
    SourceError (runtimes.http): a runtime cannot be polled, or its response is
        invalid. runtimes.docker and runtimes.kubelet make it a PollResult.
    TlsError (web.tls): OpenSSL rejects a certificate, a key or ciphers.
        daemon.server_process exits with EX_CONFIG at start; daemon.server_stack keeps
        the previous configuration later.
    TooManyChecksError (web.auth): too many passwords wait. web.app responds with 503.
    TooManyWrongPasswordsError (web.auth): a peer guesses. web.app responds with 429.
    TooManyRequestsError (web.scrape_queue): too many requests wait. web.app responds
        with 503.
LookupError
    OwnerLookupError (reports.lookup): no namespace to explain. cli.commands exits with
        1, pages.render responds with a page of 404.
        AmbiguousOwnerError (reports.lookup): more than one matches.
        UnknownOwnerError (reports.lookup): none matches.
OSError
    FrameTooLongError (privsep.framing): a message of another process is too long.
        privsep.channel makes it a PeerGoneError, runtimes.poller_client restarts the
        poller, files.connection the file reader.
ValueError
    BadQueryError (pages.query): an invalid query of a page. web.app responds with 400.
    ConfigError (errors): an invalid configuration, of config, daemon.node_reader,
        privsep.sockets, runtimes.poller_client or cli.commands. cli.main and
        cli.commands print it and exit with 2; config.web_watcher keeps the previous
        web configuration.
    InvalidSnapshotError (cli.snapshot_file): a file that is not a snapshot.
        cli.commands exits with 2.
    MalformedError (runtimes.records): a runtime's file or response that is not valid
        JSON. runtimes.http makes it a SourceError, files.bundle_directory ignores the
        bundle, runtimes.poller_client restarts the poller, files.connection the file
        reader.
    UnknownSysctlError (catalog): no sysctl has this name or matches this glob.
        cli.main and cli.commands exit with 2; config.settings makes it a ConfigError.
    YamlError (config.yaml_decoder): a text that is not YAML, exceeds a limit or has the
        wrong type. config.settings and config.web_file make it a ConfigError.
"""


class ConfigError(ValueError):
    """An invalid configuration; the text names the place and the remedy."""
