"""The router side of models: which there are, whether they fit, and the workers that run them."""
