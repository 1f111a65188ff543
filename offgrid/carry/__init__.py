"""How models and the program itself get to a machine, and how a file that arrived becomes one that is trusted."""
