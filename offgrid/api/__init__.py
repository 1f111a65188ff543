"""One module per resource: parse the request, call the rooms below, shape the answer. `routes.py` is the table."""
