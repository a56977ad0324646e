"""Search on top of training: Optuna proposes, long-lived workers train, a study remembers.

    plugin -> planning -> assembly -> controller, the loop -> points   what to try next
                                                           -> engines  train it
                                                           -> trials   what becomes of it
                                                           -> study    what is remembered
                                                           -> display  what is shown
                       -> preview  what it would be

Only the controller talks to engines, and an engine to nobody else.
"""
