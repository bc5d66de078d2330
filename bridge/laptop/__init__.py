"""The laptop's side of a session: the sandbox that the process runs in, and what it needs there.

    sandbox    the namespaces, through their init: bridge's handle on them
    init/      what runs inside, as a child of bridge: stdlib only, no import from outside this package
    supply     connections from bridge into it
    process    the user's process: start, wait, signal, end
    dns        the sandbox's resolver: queries go as they are to the pod's nameserver
    gate       exact connect(): new connections are held until the pod's answer is known
    localhost  what the laptop's loopback has, and where a connection to the loopback goes
    published  what the process listens on, on the laptop's own loopback
    support    why this laptop can't, and what to do about it

Must not know the tunnel: what it dials with is injected.
"""
