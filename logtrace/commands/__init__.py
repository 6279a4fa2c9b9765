"""The commands: each parses options, calls one library function, and prints.

What is heavy is imported when it is used: ``--help`` imports none of it.
"""
