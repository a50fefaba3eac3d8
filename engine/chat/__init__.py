"""Conversations in the words of a chat template: what it is given, and where each turn lies in its text."""
