"""The child process that holds one model. The only package that imports llama_cpp and jinja2."""
