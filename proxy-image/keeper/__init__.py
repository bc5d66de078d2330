"""The keeper: process 1 of the proxy pod's chosen container, and the guard, its second process.

It starts and supervises sshd, tells the laptop what the container was given, and has the laptop answer the kubelet's
readiness probe. The guard restores the target when the laptop is gone. Standard library only. Start-up time is felt by
the user at each swap, so what sshd's start needs (``main``, ``options``, ``sshd``) imports next to nothing, and the
rest is imported while sshd starts.

    main         the story: options, sshd, service, end
    options      argv -> Options
    sshd         the configuration of sshd, and its start
    service      puts the parts below together and runs them
    supervisor   the others' end and new start; zombies; no process left at the end
    loop         one thread: sockets, timers, signals
    connection   a socket on the loop, with output that can't grow without bound
    readiness    probes that wait, and who can answer them                         (no I/O)
    probe        the HTTP that the kubelet speaks
    control      the control connection (bridge.wire.messages)
    takeover     one laptop at a time: the SSH connection of the one before ends
    ending       how long it goes on after SIGTERM
    guarding     the guard as the keeper has it: its start, heartbeats to it, its word
    pod          what the container was given                                      (parsers without I/O)

The guard is a process of its own, which waits for an API server for as long as that is away:

    guard        the story: arming, watching, restoring, removing
    duty         what it decides                                                   (no I/O)
    api          the API server: requests, errors
"""
