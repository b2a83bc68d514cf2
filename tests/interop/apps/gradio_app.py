"""A Gradio interface: ``gradio_app.py PORT``."""

import sys

import gradio

gradio.Interface(lambda text: text[::-1], "text", "text", api_name="predict").launch(
    server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True
)
