"""The web page: two portraits in, a family out. Built with Gradio on the Python front door; nothing is computed here.

server.py     starts it: one FastAPI application, the page once in each language
guard.py      what stands before every request: who may ask for what, how much, how often
sessions.py   a folder for each visitor, deleted when unused for long, and at the end
forgetful.py  Gradio without its memory of what it showed
turns.py      long work, one at a time, the visitors in turn
page.py       the page; portraits.py, child.py, morph.py, explore.py, runs.py: its parts
panels.py     pieces of HTML; words.py: all text, in English and Korean; style.css
"""
