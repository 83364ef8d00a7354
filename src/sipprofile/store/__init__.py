"""The store on disk: profiles, the state of their flows, and their history, in one SQLite file."""
