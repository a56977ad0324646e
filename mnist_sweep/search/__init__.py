"""Search on top of training: Optuna proposes, long-lived workers train, a study remembers.

    plugin -> assembly -> controller, the loop -> points   what to try next
                                               -> engines  train it
                                               -> trials   what becomes of it, what it leaves
                                               -> study    what is remembered, and shared
                                               -> display  what is shown

Only the controller talks to engines, and an engine to nobody else.
"""
