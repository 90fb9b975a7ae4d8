"""Owns the words in which the look back says what it can't answer."""


class NotAnswered(Exception):
    """What was asked has no answer: why, and what to ask instead, in one line for the viewer."""
