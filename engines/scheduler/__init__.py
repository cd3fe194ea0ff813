"""How one model serves several callers: a thread that owns it, and what that thread does in each step."""
