"""init: the parent of the user's process, inside its namespaces.

It is a process of its own because namespaces belong to processes, a user namespace needs a single-threaded one,
and because something must outlive a killed bridge to end the tree. It speaks with bridge over unix sockets only
(``bridge.laptop.messages``) and never touches the terminal, stdin or stdout.

    main        the loop: requests of bridge, ends of children, the supply of marked sockets
    kernel      the system calls that Python 3.11 lacks
    namespaces  user, network and mount namespaces, and the one which gives the own uid back
    netlink     addresses and routes, without the ``ip`` program
    nft         the rules, as text; running nft
    nfqueue     the queue in which new connections are held
    hidden      a tmpfs that no path leads to
    rooms       room for paths that the laptop has not
    covers      files and folders of ours in place of the real ones
    volumes     the pod's volumes at their own paths
    live        the pod's volumes over SFTP: sshfs, which init mounts and ends
    child       the start of the user's process
    tree        which processes are in the sandbox
    looking     looking at all processes, while they begin and end
    ending      how they are ended

Everything here runs under ``python -I -S``: stdlib only. ``os.path`` and plain ``open`` are used, because pathlib
would be a third of its start-up time.
"""
