"""A Streamlit page."""

import streamlit

streamlit.write("greetings from streamlit")
file = streamlit.file_uploader("a file")
if file is not None:
    streamlit.write(f"{file.name} has {len(file.getvalue())} bytes")
