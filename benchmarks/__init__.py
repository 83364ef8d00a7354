"""How fast, and at what cost in CPU time and memory, the whole service registers; see README.md."""
