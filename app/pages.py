"""What ``app/main.py`` serves. One line per page; each page is one file."""

import streamlit as st

st.set_page_config(page_title="Coconut explorer", page_icon="🥥", layout="wide")

from model.errors import InputError  # noqa: E402

try:
    import app.compute  # noqa: F401
except InputError as error:  # limits in the environment that are none
    st.error(str(error))
    st.stop()

PAGES = [
    st.Page("explore/explore.py", title="Explore", icon=":material/account_tree:", default=True),
    st.Page("intervene/intervene.py", title="Intervene", icon=":material/science:"),
    st.Page("training/training.py", title="Training", icon=":material/show_chart:"),
    st.Page("dataset/dataset.py", title="Dataset", icon=":material/dataset:"),
]

page = st.navigation(PAGES, position="top")
from app import hosted  # noqa: E402
from app.links import steps  # noqa: E402
from app.words import style  # noqa: E402

if hosted.LIMITS.hosted:
    hosted.visit()

style()
steps()
page.run()
