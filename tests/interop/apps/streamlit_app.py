"""A Streamlit page."""

import streamlit

streamlit.write("greetings from streamlit")
