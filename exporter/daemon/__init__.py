"""
The processes of `serve`, each with its main function.

`collector_process` reads the node, by the collector of `node_reader` that other
commands use too, logs problems with `problem_log`, and feeds systemd's `watchdog`.
`server_process` serves HTTP: it runs the parts that `server_stack` puts together, after
`preload` has loaded all they need. `runtime_process` polls the APIs of container
runtimes.
"""
