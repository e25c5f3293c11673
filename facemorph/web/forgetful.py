"""Gradio without its memory: it keeps the last of all that each open page was shown, pictures too, for links that
restore a page. There are none here, and what a visitor made must be gone when it is deleted. And without one mistake.
"""

from typing import Any

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

MOST_PAGES = 1000  # open pages of which Gradio knows how their controls were changed


class PageState(SessionState):
    """What Gradio knows of an open page: its controls, not their values."""

    def __init__(self, blocks: gr.Blocks) -> None:
        super().__init__(blocks)
        self.config_values = {}

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        self.config_values = {}

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


class PageStates(StateHolder):
    """`PageState` for `SessionState`."""

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = PageState(self.blocks)
        return super().__getitem__(session_id)


def let_html_be() -> None:
    """Let `gr.skip()` leave an HTML as it is: Gradio 6.31 takes the mark of an update for a property of it."""
    import gradio.blocks

    updated = gradio.blocks.postprocess_update_dict

    def without_mark(block: Any, update_dict: dict[str, Any], postprocess: bool = True) -> dict[str, Any]:
        return updated(block, {key: one for key, one in update_dict.items() if key != "__type__"}, postprocess)

    if updated.__name__ != without_mark.__name__:
        gradio.blocks.postprocess_update_dict = without_mark


def make_forgetful(mounted: Any, blocks: gr.Blocks) -> None:
    """Let the application that serves `blocks` remember no values."""
    blocks.state_session_capacity = MOST_PAGES
    mounted.state_holder = PageStates()
    mounted.state_holder.set_blocks(blocks)
