"""Other machines, asked with care. Nothing here runs unless the administrator has switched on what uses it."""
