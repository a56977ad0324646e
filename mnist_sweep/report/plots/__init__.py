"""The commands that make pictures, a module for each.

Each reads what runs and searches left behind and hands plain data to a function of `figures`.
"""
