"""The floors one by one: how long a piece of work takes, and how many instructions."""
