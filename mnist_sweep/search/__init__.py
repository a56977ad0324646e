"""Search on top of training: Optuna proposes, long-lived workers train, a study remembers.

    command line -> plugin -> controller -> space, candidate   what to try, and does it fit
                                         -> workers -> run     train it
                                         -> ledger -> storage  what became of it

The controller is the only one that talks to the study; a worker trains what it is sent.
"""
